//go:build unix

package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// newTeamInWeather makes a team whose server and store are behind proxies, and whose pool names no
// block of credentials: the environment has them. No run may be left under way at the test's end.
func newTeamInWeather(t *testing.T) (tm *team, api, s3 *weather) {
	t.Helper()
	u, err := url.Parse(started.Server(t, "s3", "FLOWSHIP_TEST_S3"))
	if err != nil {
		t.Fatal(err)
	}
	s3 = newWeather(t, u.Query().Get("endpoint"))
	secret := os.Getenv("AWS_SECRET_ACCESS_KEY")
	tm = &team{T: t, secret: secret, pool: "weather-" + strings.ToLower(rand.Text()[:8]), stock: newStock(t,
		"AWS_ACCESS_KEY_ID="+os.Getenv("AWS_ACCESS_KEY_ID"), "AWS_SECRET_ACCESS_KEY="+secret, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ENDPOINT_URL="+s3.url, "FLOWSHIP_HOME="+t.TempDir())}
	tm.flowship("work-pool", "create", tm.pool, "--type", "process")
	tm.flowship("work-pool", "storage", "configure", "s3", tm.pool, "--bucket", u.Host)
	api = newWeather(t, tm.api)
	tm.env = append(tm.env, "PREFECT_API_URL="+api.url)
	t.Cleanup(func() {
		api.set(nil)
		s3.set(nil)
		tm.wantNoneUnderWay()
	})
	return tm, api, s3
}

// inPool asks the API for the pool's runs in states of these types; none: in any.
func (tm *team) inPool(types ...string) (ids []string) {
	tm.Helper()
	body := fmt.Sprintf(`{"work_pools": {"name": {"any_": [%q]}}`, tm.pool)
	if len(types) > 0 {
		body += fmt.Sprintf(`, "flow_runs": {"state": {"type": {"any_": ["%s"]}}}`, strings.Join(types, `", "`))
	}
	var runs []struct{ ID string }
	tm.get("/flow_runs/filter", body+"}", &runs)
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// wantNoneUnderWay waits until no run is under way any more; somebody has to look at runs for
// those to end that nobody looks after.
func (tm *team) wantNoneUnderWay() {
	tm.Helper()
	tm.eventually("no run is under way", func() bool {
		if len(tm.inPool("PENDING", "RUNNING", "CANCELLING")) == 0 {
			return true
		}
		tm.try("flow-run", "ls")
		return false
	})
}

// eventually waits for long: some servers are slow on purpose.
func (tm *team) eventually(what string, holds func() bool) {
	tm.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			tm.Fatalf("waited in vain until %s", what)
		}
	}
}

// becomeBrief has the team use flowship with leases that expire soon.
func (tm *team) becomeBrief() {
	tm.Helper()
	var err error
	if tm.launcher, err = exec.LookPath("flowship-brief"); err != nil {
		tm.Fatal(err)
	}
}

// start starts flowship.
func (tm *team) start(args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	tm.Helper()
	cmd, stderr = exec.CommandContext(tm.Context(), tm.launcher, args...), &bytes.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = tm.env, stderr, stderr
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		tm.Fatal(err)
	}
	return cmd, stderr
}

// tally is a file where runs leave a line each.
type tallySheet struct{ path string }

func newTallySheet(t *testing.T) tallySheet { return tallySheet{filepath.Join(t.TempDir(), "ran")} }

// command is what leaves the line.
func (s tallySheet) command() []string {
	return []string{"--", "sh", "-c", "echo $PREFECT__FLOW_RUN_ID >>" + s.path}
}

// want checks that each run ran once.
func (s tallySheet) want(t *testing.T, ids ...string) {
	t.Helper()
	text, err := os.ReadFile(s.path)
	if err != nil {
		t.Error(err)
	}
	got := strings.Fields(string(text))
	slices.Sort(got)
	slices.Sort(ids)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("runs (-submitted +ran):\n%s", diff)
	}
}

// What is submitted and run while the server has its moods is run once, and is seen to end.
func TestServerHasMoods(t *testing.T) {
	for name, mood := range map[string]mood{
		"restarts": func(_ *http.Request, kind string, nth int) *fault {
			again := []string{"POST flows", "POST flow_runs", "POST flow_runs/ID/set_state", "PATCH flow_runs/ID/labels", "POST work_pools/ID/get_scheduled_flow_runs"}
			if i := slices.Index(again, kind); i >= 0 && nth == 2+i%2 {
				return &fault{done: i%2 == 0, away: time.Second}
			}
			return nil
		},
		"unavailable for every tenth request, not always before it was done": func() mood {
			var mu sync.Mutex
			n := 0
			return func(*http.Request, string, int) *fault {
				mu.Lock()
				defer mu.Unlock()
				if n++; n%10 != 0 {
					return nil
				}
				return &fault{done: n%20 == 0, status: http.StatusServiceUnavailable, body: `{"exception_message": "Service Unavailable"}`}
			}
		}(),
		"too many requests": func(_ *http.Request, kind string, nth int) *fault {
			if nth == 1 && !strings.HasPrefix(kind, "WS") {
				return &fault{status: http.StatusTooManyRequests, header: "Retry-After: 1"}
			}
			return nil
		},
		"no WebSockets": func(_ *http.Request, kind string, _ int) *fault {
			if strings.HasPrefix(kind, "WS") {
				return &fault{status: http.StatusNotFound}
			}
			return nil
		},
		"slow": func(*http.Request, string, int) *fault { return &fault{delay: 150 * time.Millisecond} },
		"breaks one connection in five": func(_ *http.Request, kind string, nth int) *fault {
			if nth%5 == 3 {
				return &fault{done: nth%2 == 0, cut: true}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tm, api, _ := newTeamInWeather(t)
			sheet := newTallySheet(t)
			// One process after the other: of a server that it has never reached, nobody waits for
			// the return.
			api.set(mood)
			ids := []string{}
			for range 3 {
				ids = append(ids, tm.submitted(sheet.command()...))
			}
			api.set(nil)
			waiting, log := tm.start(append([]string{"flow-run", "wait"}, ids...)...)
			tm.eventually("it waits", func() bool { return api.count("GET flow_runs/ID") >= 3 })
			api.set(mood)
			tm.serve()
			if err := waiting.Wait(); err != nil {
				t.Errorf("wait: %v\n%s", err, log)
			}
			sheet.want(t, ids...)
		})
	}
}

// An executor waits for the return of a server that it has never reached: who started it has.
func TestServerRestartsBeforeTheExecutor(t *testing.T) {
	t.Parallel()
	tm, api, _ := newTeamInWeather(t)
	sheet := newTallySheet(t)
	id := tm.submitted(sheet.command()...)
	var gone atomic.Bool
	api.set(func(r *http.Request, _ string, _ int) *fault {
		if r.Header.Get("X-Prefect-Flow-Id") != "" && gone.CompareAndSwap(false, true) {
			return &fault{away: time.Second}
		}
		return nil
	})
	tm.serve("--run-once")
	if _, errs, code := tm.try("flow-run", "wait", id); code != 0 {
		t.Errorf("wait: exit code %d\n%s", code, errs)
	}
	if !gone.Load() {
		t.Error("the server was there all the time")
	}
	sheet.want(t, id)
}

// What the server refuses is said with what to look at, and no run is left behind.
func TestServerRefuses(t *testing.T) {
	tm, api, _ := newTeamInWeather(t)
	submit := []string{"submit-to-work-pool", "--pool", tm.pool, "--", "true"}
	always := func(kind string, f fault) mood {
		return func(_ *http.Request, got string, _ int) *fault {
			if kind == "" || got == kind {
				return &f
			}
			return nil
		}
	}
	for _, test := range []struct {
		name string
		mood mood
		args []string
		code int
		said []string // on stderr
	}{
		{"nobody is let in", always("", fault{status: http.StatusUnauthorized, body: `{"exception_message": "Unauthorized"}`}), submit, exitUnavailable,
			[]string{"401 Unauthorized", "PREFECT_API_KEY"}},
		{"not allowed", always("POST flow_runs", fault{status: http.StatusForbidden, body: `{"detail": "Forbidden"}`}), submit, exitUnavailable,
			[]string{"403 Forbidden", "PREFECT_API_KEY"}},
		{"no such work pool", nil, []string{"submit-to-work-pool", "--pool", "nowhere", "--", "true"}, exitNotFound, []string{`"nowhere"`}},
		{"there already", nil, []string{"work-pool", "create", tm.pool, "--type", "process"}, exitUsage, []string{tm.pool, "exists"}},
		{"a field is not valid", always("POST flow_runs", fault{status: http.StatusUnprocessableEntity,
			body: `{"exception_message": "Invalid request received.", "exception_detail": [{"loc": ["body", "tags", 0], "msg": "Input should be a valid string", "type": "string_type"}], "request_body": {"name": "not-to-be-repeated"}}`}),
			submit, exitUsage, []string{"422", "body.tags.0: Input should be a valid string"}},
		{"another major version", always("GET admin/version", fault{status: http.StatusOK, body: `"4.0.1"`}), submit, exitUnavailable, []string{"the server is Prefect 4.0.1"}},
		{"an older version", always("GET admin/version", fault{status: http.StatusOK, body: `"3.6.2"`}), submit, 0, []string{"warning: the server is Prefect 3.6.2, older than"}},
		{"a newer version", always("GET admin/version", fault{status: http.StatusOK, body: `"3.99.0"`}), submit, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			api.set(test.mood)
			out, errs, code := tm.try(test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, test.code, out, errs)
			}
			for _, said := range test.said {
				if !strings.Contains(errs, said) {
					t.Errorf("stderr does not say %q:\n%s", said, errs)
				}
			}
			if test.said == nil && errs != "" || strings.Contains(errs, "not-to-be-repeated") {
				t.Errorf("stderr:\n%s", errs)
			}
			if left := tm.inPool("PENDING"); left != nil {
				t.Errorf("left PENDING: %q", left)
			}
		})
	}
}

// The token against forged requests may expire at any time.
func TestTokenExpires(t *testing.T) {
	tm, api, _ := newTeamInWeather(t)
	var mu sync.Mutex
	token, used := 0, 0
	api.set(func(r *http.Request, kind string, _ int) *fault {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case kind == "GET csrf-token":
			token, used = token+1, 0
			return &fault{status: http.StatusOK, body: fmt.Sprintf(`{"token": "T%d", "expiration": "2999-01-01T00:00:00Z"}`, token)}
		case r.Method == http.MethodGet:
			return nil
		}
		if used++; used > 3 || r.Header.Get("Prefect-Csrf-Token") != fmt.Sprintf("T%d", token) {
			return &fault{status: http.StatusForbidden, body: `{"detail": "Invalid CSRF token or client identifier."}`}
		}
		return nil
	})
	sheet := newTallySheet(t)
	id := tm.submitted(sheet.command()...)
	if api.count("GET csrf-token") < 2 {
		t.Errorf("the token never expired: %d", api.count("GET csrf-token"))
	}
	tm.serve("--run-once")
	if _, errs, code := tm.try("flow-run", "wait", id); code != 0 {
		t.Errorf("wait: exit code %d\n%s", code, errs)
	}
	sheet.want(t, id)
}

// A server that takes a second for every answer slows everything down and breaks nothing;
// Ctrl-C does not wait for it.
func TestServerIsSlow(t *testing.T) {
	t.Parallel()
	tm, api, _ := newTeamInWeather(t)
	usual := tm.launcher
	tm.becomeBrief() // who is killed leaves a run
	slow := func(*http.Request, string, int) *fault { return &fault{delay: time.Second} }
	const long, soon = time.Minute, 30 * time.Second
	for _, test := range []struct {
		args  []string
		after string // the first request of this kind
		again bool   // Ctrl-C a second time: there is a run to be ended
		long  string // is answered last: nobody waits for it
	}{
		{args: []string{"submit-to-work-pool", "--pool", tm.pool, "--", "true"}, after: "GET admin/version", long: "GET admin/version"},
		{args: []string{"submit-to-work-pool", "--pool", tm.pool, "--", "true"}, after: "POST flow_runs", again: true, long: "POST flow_runs/ID/set_state"},
		{args: []string{"flow-run", "ls"}, after: "POST flow_runs/filter", long: "POST flow_runs/filter"},
		{args: []string{"worker", "start", "--pool", tm.pool}, after: "GET work_pools/ID", long: "GET work_pools/ID"},
	} {
		api.set(func(r *http.Request, kind string, nth int) *fault {
			if kind == test.long {
				return &fault{delay: long}
			}
			return slow(r, kind, nth)
		})
		cmd, log := tm.start(test.args...)
		tm.eventually(fmt.Sprintf("%q has asked: %s", test.args, test.after), func() bool { return api.count(test.after) > 0 })
		began := time.Now()
		if test.again {
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			tm.eventually("it ends the run", func() bool { return api.count("POST flow_runs/ID/set_state") > 0 })
			began = time.Now()
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			cmd.Wait()
		}()
		press := time.NewTicker(500 * time.Millisecond) // two signals at the same moment are one
		for waiting := true; waiting; {
			cmd.Process.Signal(syscall.SIGINT)
			select {
			case <-ended:
				waiting = false
			case <-press.C:
				if !test.again {
					<-ended
				}
			}
		}
		press.Stop()
		if took := time.Since(began); took > soon {
			t.Errorf("%q: Ctrl-C took %v\n%s", test.args, took, log)
		}
	}
	api.set(nil)
	tm.wantNoneUnderWay()
	tm.launcher = usual
	sheet := newTallySheet(t)
	slowed := tm.env
	tm.env = append(slices.Clip(slowed), "PREFECT_API_URL="+tm.api) // it needs fifty answers
	tm.serve()
	tm.env = slowed
	api.set(slow)
	id := tm.submitted(sheet.command()...)
	if _, errs, code := tm.try("flow-run", "wait", id); code != 0 {
		t.Errorf("wait: exit code %d\n%s", code, errs)
	}
	sheet.want(t, id)
}
