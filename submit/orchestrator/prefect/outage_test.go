package prefect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// TestLost: a run is lost when those left it, or are silent, who looked after it in this state.
func TestLost(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
	const submitter, executor = "flowship.lease.submitter-00000001", "flowship.lease.executor-00000002"
	running := orchestrator.State{Type: "RUNNING", Name: "Running", Timestamp: now.Add(-time.Minute)}
	for _, test := range []struct {
		name   string
		labels map[string]string
		state  orchestrator.State
		lost   bool
	}{
		{"nobody ever", map[string]string{"team": "a"}, running, false},
		{"held", map[string]string{executor: at(time.Second)}, running, false},
		{"expired", map[string]string{executor: at(-time.Second)}, running, true},
		{"released", map[string]string{executor: "released " + at(-time.Second)}, running, true},
		{"one of two held", map[string]string{submitter: "released " + at(-time.Second), executor: at(time.Second)}, running, false},
		{"one expired, one released", map[string]string{submitter: "released " + at(-time.Second), executor: at(-time.Second)}, running, true},
		{"forgotten", map[string]string{executor: ""}, running, false},
		{"not of ours", map[string]string{executor: "yes"}, running, false},
		{"released before somebody else ran it", map[string]string{submitter: "released " + at(-2*time.Minute)}, running, false},
		{"expired before somebody else ran it", map[string]string{submitter: at(-2 * time.Minute)}, running, false},
		{"queued", map[string]string{executor: at(-time.Second)}, orchestrator.State{Type: "SCHEDULED", Name: "Scheduled"}, false},
		{"awaits its retry", map[string]string{executor: at(-time.Second)}, orchestrator.State{Type: "SCHEDULED", Name: "AwaitingRetry"}, true},
		{"ended", map[string]string{executor: at(-time.Second)}, orchestrator.State{Type: "FAILED", Name: "Failed"}, false},
	} {
		why, lost := prefect.Lost(test.labels, test.state, now)
		if lost != test.lost || lost && len(why) == 0 {
			t.Errorf("%s: %t, %q", test.name, lost, why)
		}
	}
}

// While a server cannot be reached nobody can renew a lease. Who saw that takes nothing for lost
// when it is back.
func TestEndLostAfterOutage(t *testing.T) {
	var requests []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api"))
		if len(requests) == 2 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "[]")
	}))
	defer srv.Close()
	c, err := prefect.Open(&prefect.Settings{APIURL: srv.URL + "/api", MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Waiting(func(time.Duration) {})
	c.LookForLosses(0)
	look := func() {
		t.Helper()
		if n, err := c.EndLost(t.Context()); n != 0 || err != nil {
			t.Errorf("%d ended, %v", n, err)
		}
	}
	look()
	if err := c.Post(t.Context(), "/flows/", nil); err != nil {
		t.Error(err)
	}
	look()
	want := []string{"POST /flow_runs/filter", "POST /flows/", "POST /flows/"}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
