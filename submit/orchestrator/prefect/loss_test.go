package prefect_test

import (
	"encoding/json"
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

// While a server cannot be reached nobody can renew a lease. So a run whose leases have expired is
// doubted at first, and ended only by who finds it so again after half a lease; one that its holders
// have left is ended at once.
func TestLossIsDoubted(t *testing.T) {
	const id = "0b3c0000-0000-4000-8000-000000000001"
	now := time.Now().UTC()
	at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
	const executor = "flowship.lease.executor-00000002"
	for _, test := range []struct {
		name   string
		labels map[string]string
		want   []string
	}{
		{"first look", map[string]string{executor: at(-time.Second) + " 1m30s"}, []string{"PATCH /flow_runs/" + id + "/labels"}},
		{"doubted for a while", map[string]string{executor: at(-time.Minute) + " 1m30s", "flowship.doubt": at(-30 * time.Second)}, nil},
		{"doubted for long", map[string]string{executor: at(-2*time.Minute) + " 1m30s", "flowship.doubt": at(-time.Minute)}, []string{"POST /flow_runs/" + id + "/set_state"}},
		{"renewed since, and expired again", map[string]string{executor: at(-time.Second) + " 10s", "flowship.doubt": at(-time.Minute)}, []string{"PATCH /flow_runs/" + id + "/labels"}},
		{"left", map[string]string{executor: "released " + at(-time.Second)}, []string{"POST /flow_runs/" + id + "/set_state"}},
	} {
		var changes []string
		run, err := json.Marshal(map[string]any{
			"id": id, "labels": test.labels, "state_type": "RUNNING", "state_name": "Running",
			"state": map[string]any{"id": id, "type": "RUNNING", "name": "Running", "timestamp": at(-5 * time.Minute)},
		})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path := strings.TrimPrefix(r.URL.Path, "/api")
			switch {
			case path == "/flow_runs/filter":
				io.WriteString(w, "["+string(run)+"]")
			case path == "/flow_runs/"+id:
				w.Write(run)
			default:
				if r.Method != http.MethodGet {
					changes = append(changes, r.Method+" "+path)
				}
				io.WriteString(w, `{"status": "ABORT", "details": {"reason": "as the test wants"}}`)
			}
		}))
		c, err := prefect.Open(&prefect.Settings{APIURL: srv.URL + "/api", NoCSRF: true, NoVersionCheck: true})
		if err != nil {
			t.Fatal(err)
		}
		c.LookForLosses(0)
		if _, err := c.EndLost(t.Context()); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, changes); diff != "" {
			t.Errorf("%s: changes (-want +got):\n%s", test.name, diff)
		}
		c.Close()
		srv.Close()
	}
}
