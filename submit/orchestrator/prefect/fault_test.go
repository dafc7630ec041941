package prefect_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// faulty stands before a real server and does what intercept wants; it reports whether it answered.
type faulty struct {
	t         *testing.T
	forward   http.Handler
	intercept func(w http.ResponseWriter, r *http.Request, body []byte) bool

	address string
	serving *http.Server
}

// throughFaults lets the settings lead to the server through a proxy.
func throughFaults(t *testing.T, s *prefect.Settings) *faulty {
	t.Helper()
	api, err := url.Parse(s.APIURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &faulty{t: t, address: "127.0.0.1:0"}
	p.forward = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: api.Scheme, Host: api.Host})
	p.start()
	t.Cleanup(p.stop)
	s.APIURL = "http://" + p.address + api.Path
	return p
}

func (p *faulty) start() {
	var l net.Listener
	// For a moment, the port may be that of somebody's connection.
	eventually(p.t, "the proxy comes back", func() bool {
		var err error
		l, err = net.Listen("tcp", p.address)
		return err == nil
	})
	p.address = l.Addr().String()
	p.serving = &http.Server{Handler: p}
	go p.serving.Serve(l)
}

func (p *faulty) stop() { p.serving.Close() }

func (p *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if p.intercept == nil || !p.intercept(w, r, body) {
		p.forward.ServeHTTP(w, r)
	}
}

// discard is where an answer goes that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func unavailable(w http.ResponseWriter)     { w.WriteHeader(http.StatusServiceUnavailable) }
func cut(w http.ResponseWriter)             { panic(http.ErrAbortHandler) }
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, "/filter")
}
func step(t orchestrator.StateType) orchestrator.State { return orchestrator.NewState(t, "why") }

// TestNothingTwice: each request that changes something is answered at the second try only.
func TestNothingTwice(t *testing.T) {
	for _, test := range []struct {
		name   string
		done   bool // the first try reached the server
		answer func(http.ResponseWriter)
	}{
		{"503 after it was done", true, unavailable}, {"503 before", false, unavailable}, {"cut after it was done", true, cut},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings := plain(t)
			sure := open(t, settings)
			var mu sync.Mutex
			tried := map[string]bool{}
			p := throughFaults(t, &settings)
			p.intercept = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				mu.Lock()
				key := r.Method + r.URL.Path + string(body)
				first := !tried[key] && changes(r)
				tried[key] = true
				mu.Unlock()
				if !first {
					return false
				}
				if test.done {
					p.forward.ServeHTTP(discard{http.Header{}}, r)
				}
				test.answer(w)
				return true
			}
			c := open(t, settings)
			c.Waiting(func(time.Duration) {})
			ctx, flow := t.Context(), "faulty-"+uuid.NewString()
			lease := orchestrator.NewLease("submitter", 0)
			parent := create(t, c, orchestrator.NewFlowRun{Flow: flow, State: step("RUNNING"), Lease: &lease})
			run := create(t, c, orchestrator.NewFlowRun{Flow: flow, Parent: parent.ID, State: step("PENDING"), Lease: &lease, Policy: orchestrator.Policy{Retries: 1}})
			must(t, c.SetBundle(ctx, run.ID, orchestrator.Bundle{URL: "file:///s", Key: "k"}, nil))
			for _, s := range []struct {
				state orchestrator.State
				force bool
				want  string
			}{
				{state: step("RUNNING"), want: "Running"},
				{state: step("FAILED"), want: "AwaitingRetry"}, // which would be an end the second time
				{state: orchestrator.NewNamedState("RUNNING", "Retrying", ""), want: "Retrying"},
				{state: step("FAILED"), want: "Failed"},
				{state: step("PENDING"), force: true, want: "Pending"},
				{state: step("SCHEDULED"), want: "Scheduled"},
				{state: step("CANCELLING"), want: "Cancelled"},
			} {
				out, err := c.SetState(ctx, run.ID, s.state, &orchestrator.SetStateOptions{Force: s.force})
				must(t, err)
				want := orchestrator.Accepted
				if s.want != s.state.Name {
					want = orchestrator.Rejected
				}
				if out.State.Name != s.want || out.Status != want {
					t.Errorf("%s: %+v, want %s %s", s.state.Name, out, want, s.want)
				}
			}
			var logs []orchestrator.Log
			for _, message := range []string{"a", "b", "a"} {
				logs = append(logs, orchestrator.Log{FlowRunID: run.ID, Level: 20, Name: orchestrator.LogStdout, Message: message, Timestamp: time.Now()})
			}
			must(t, c.WriteLogs(ctx, logs))

			states, err := sure.States(ctx, run.ID)
			must(t, err)
			got := []string{}
			for _, s := range states {
				got = append(got, s.Name)
			}
			diff(t, "states", []string{"Pending", "Running", "AwaitingRetry", "Retrying", "Failed", "Pending", "Scheduled", "Cancelled"}, got)
			read, err := sure.Logs(ctx, orchestrator.LogFilter{FlowRunID: run.ID})
			must(t, err)
			got = nil
			for _, l := range read {
				got = append(got, l.Message)
			}
			diff(t, "logs", []string{"a", "b", "a"}, got)
			n, err := sure.CountRuns(ctx, flow)
			must(t, err)
			diff(t, "runs", 2, n)
			r, err := sure.FlowRun(ctx, run.ID)
			must(t, err)
			diff(t, "run count, bundle", []any{2, "k"}, []any{r.RunCount, r.Bundle.Key})
			must(t, c.DeleteFlowRun(ctx, run.ID))
		})
	}
}

// TestRestart: the server goes away in the middle, and comes back when the client waits.
func TestRestart(t *testing.T) {
	settings := plain(t)
	p := throughFaults(t, &settings)
	c := open(t, settings)
	ctx, lease := t.Context(), orchestrator.NewLease("executor", 0)
	run := create(t, c, orchestrator.NewFlowRun{Flow: "restarted", State: step("PENDING"), Lease: &lease})
	waits := 0 // since the server went
	c.Waiting(func(time.Duration) {
		if waits++; waits == 3 { // it takes its time
			p.start()
		}
	})
	for _, test := range []struct {
		what string
		do   func() error
	}{
		{"set state", func() error {
			out, err := c.SetState(ctx, run.ID, step("RUNNING"), nil)
			if err == nil && out.Status != orchestrator.Accepted {
				t.Errorf("%+v", out)
			}
			return err
		}},
		{"current states", func() error {
			states, err := c.CurrentStates(ctx, []string{run.ID})
			diff(t, "state", "Running", states[run.ID].Name)
			return err
		}},
		{"renew", func() error { return c.Renew(ctx, lease) }},
		{"logs", func() error { return c.WriteLogs(ctx, []orchestrator.Log{{FlowRunID: run.ID, Timestamp: time.Now()}}) }},
	} {
		p.stop()
		waits = 0
		if err := test.do(); err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		if waits < 3 { // a busy server may add some
			t.Errorf("%s: it waited %d times", test.what, waits)
		}
	}
}

// TestRefusals: what a server refuses is told with what is wrong, and without what was sent.
func TestRefusals(t *testing.T) {
	settings := plain(t)
	c := open(t, settings)
	_, err := c.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "refused", State: orchestrator.State{Type: "S3CR3T"}})
	var refused *prefect.StatusError
	if !errors.As(err, &refused) || refused.Status != 422 || !strings.Contains(err.Error(), "body.state.type: Input should be") || strings.Contains(err.Error(), "S3CR3T") {
		t.Errorf("a state of no type: %v", err)
	}
	_, err = c.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{ID: uuid.NewString(), Flow: "refused", State: step("COMPLETED")})
	if err == nil {
		t.Error("a run has an id that the server did not give")
	}
}

func TestUnauthorized(t *testing.T) {
	settings := secured(t)
	for auth, check := range map[prefect.Secret]string{"testbed:wrong": "check PREFECT_API_AUTH_STRING", "": "of which none is set"} {
		settings.AuthString = auth
		err := open(t, settings).Hold(t.Context(), uuid.NewString(), orchestrator.NewLease("executor", 0))
		if !errors.Is(err, prefect.ErrUnauthorized) || !strings.Contains(err.Error(), check) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("with %q: %v", string(auth), err)
		}
	}
}

// TestConflict: that a run was created already is no error to who created it.
func TestConflict(t *testing.T) {
	const run = `{"id": "11111111-1111-4111-8111-111111111111", "flow_id": "f", "name": "n", "state": {"id": "s", "type": "PENDING", "name": "Pending"}}`
	c, requests := serve(t, prefect.Settings{}, answer{200, `{"id": "f"}`, ""}, answer{409, `{"detail": "exists"}`, ""}, answer{200, "[" + run + "]", ""})
	got, err := c.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "f", State: step("PENDING")})
	must(t, err)
	diff(t, "id", "11111111-1111-4111-8111-111111111111", got.ID)
	if last := (*requests)[len(*requests)-1]; !strings.Contains(last, `"idempotency_key":{"any_":["`) {
		t.Error(last)
	}
}

func TestVersion(t *testing.T) {
	for answered, want := range map[string]string{
		`"3.8.8"`: "", `"3.9.1rc2"`: "", `"3.8.7+12.gabc"`: "warning: the server is Prefect 3.8.7+12.gabc, older than 3.8.8, which this is made for",
		`"2.20.1"`: "prefect: the server is Prefect 2.20.1, and this speaks to Prefect 3", `"new"`: "",
	} {
		c, _ := serveAll(t, prefect.Settings{NoCSRF: true}, answer{200, answered, ""}, answer{200, `{"id": "f"}`, ""})
		_, err := c.EnsureFlow(t.Context(), "f")
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), `flow "f": `, "")
		}
		for _, w := range c.Warnings() {
			got += "warning: " + w
		}
		diff(t, answered, want, got)
	}
}

func create(t *testing.T, c *prefect.Client, n orchestrator.NewFlowRun) *orchestrator.FlowRun {
	t.Helper()
	run, err := c.CreateFlowRun(t.Context(), n)
	must(t, err)
	t.Cleanup(func() { c.DeleteFlowRun(context.WithoutCancel(t.Context()), run.ID) })
	return run
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
