package local_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// makeOld makes a file of an older version, and puts into it what the statements say.
func makeOld(t *testing.T, version int, statements string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(local.Schema(version) + statements); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file from before there were leases gets them.
func TestFirstSchema(t *testing.T) {
	path := makeOld(t, 1, `
		INSERT INTO flow VALUES ('f', 'sh', 1);
		INSERT INTO flow_run VALUES ('old-1', 'f', 'lost', 'local', '{}', '[]', '', 'k', '', '', 1, NULL, NULL, 'RUNNING', 's1');
		INSERT INTO flow_run VALUES ('old-2', 'f', 'done', 'local', '{}', '[]', '', 'k', '', '', 1, NULL, 2, 'COMPLETED', 's2');
		INSERT INTO state VALUES ('s1', 'old-1', 1, 'RUNNING', 'Running', '', 1), ('s2', 'old-2', 1, 'COMPLETED', 'Completed', '', 2)`)
	c := &clock{time.Now()}
	o := open(t, path)
	o.SetClock(c.now)
	endLost(t, o, 0)
	c.jump(25 * time.Hour)
	endLost(t, o, 0)
	c.jump(9 * time.Hour)
	endLost(t, o, 1)
	runs, err := o.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range runs {
		got[r.ID] = string(r.State.Type) + " " + string(r.Submission)
	}
	if diff := cmp.Diff(map[string]string{"old-1": "CRASHED {}", "old-2": "COMPLETED {}"}, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

// The runs of a file from before there were work pools take their places among the new ones.
func TestSecondSchema(t *testing.T) {
	c := newClock()
	stamp := c.now().UnixMicro()
	path := makeOld(t, 2, fmt.Sprintf(`
		INSERT INTO flow VALUES ('f', 'sh', 1);
		INSERT INTO flow_run VALUES ('pending', 'f', 'n', 'local', '{"a":1}', '["t"]', 'file:///s', 'k', 'd', 'z', 1, NULL, NULL, 'PENDING', 's1', '{"b":2}');
		INSERT INTO flow_run VALUES ('running', 'f', 'n', 'local', '{}', '[]', '', 'k', '', '', 2, 3, NULL, 'RUNNING', 's3', '{}');
		INSERT INTO flow_run VALUES ('queued', 'f', 'n', 'local', '{}', '[]', '', 'k', '', '', 3, NULL, NULL, 'SCHEDULED', 's4', '{}');
		INSERT INTO flow_run VALUES ('done', 'f', 'n', 'local', '{}', '[]', '', 'k', '', '', 4, 5, 6, 'COMPLETED', 's6', '{}');
		INSERT INTO state VALUES
			('s1', 'pending', 1, 'PENDING', 'Submitting', 'why', 1),
			('s2', 'running', 1, 'PENDING', 'Pending', '', 2), ('s3', 'running', 2, 'RUNNING', 'Running', '', 3),
			('s4', 'queued', 1, 'SCHEDULED', 'Scheduled', '', 4),
			('s5', 'done', 1, 'RUNNING', 'Running', '', 5), ('s6', 'done', 2, 'COMPLETED', 'Completed', '', 6);
		INSERT INTO lease VALUES ('l1', 'pending', 'submitter', '', 30000000, %[1]d, NULL), ('l2', 'running', 'executor', '', 30000000, %[1]d, NULL)`, stamp))
	o := open(t, path)
	o.SetClock(c.now)
	endLost(t, o, 0)
	makePool(t, o, "local")
	pool, err := o.WorkPool(t.Context(), "local")
	if err != nil || pool.ActiveSlots != 2 {
		t.Errorf("%+v, %v", pool, err)
	}
	offered, err := o.ScheduledFlowRuns(t.Context(), "local", time.Time{}, 0)
	if err != nil || len(offered) != 1 || offered[0].ID != "queued" {
		t.Errorf("%+v, %v", offered, err)
	}
	runs, err := o.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]any{}
	for _, r := range runs {
		got[r.ID] = []any{r.State.Name, r.RunCount, string(r.JobVariables), len(r.Labels)}
	}
	want := map[string][]any{
		"pending": {"Submitting", 0, "{}", 0}, "running": {"Running", 1, "{}", 0}, "queued": {"Scheduled", 0, "{}", 0}, "done": {"Completed", 1, "{}", 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	renew(t, o, orchestrator.Lease{ID: "l1"})
	set(t, o, "running", state(orchestrator.TypeCompleted), nil)
	c.jump(time.Minute)
	endLost(t, o, 0)
	c.jump(time.Minute)
	endLost(t, o, 1) // pending
}
