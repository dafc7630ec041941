package orchestrator_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
)

func TestDecide(t *testing.T) {
	const submitting = "Submitting"
	for _, test := range []struct {
		from, to orchestrator.StateType
		toName   string
		status   orchestrator.Status
		holds    orchestrator.StateType
	}{
		{"SCHEDULED", "PENDING", "", orchestrator.Accepted, "PENDING"},
		{"PENDING", "RUNNING", "", orchestrator.Accepted, "RUNNING"},
		{"RUNNING", "COMPLETED", "", orchestrator.Accepted, "COMPLETED"},
		{"RUNNING", "FAILED", "", orchestrator.Accepted, "FAILED"},
		{"PENDING", "CRASHED", "", orchestrator.Accepted, "CRASHED"},
		{"PENDING", "SCHEDULED", "", orchestrator.Accepted, "SCHEDULED"},
		{"RUNNING", "CANCELLING", "", orchestrator.Accepted, "CANCELLING"},
		{"CANCELLING", "CANCELLED", "", orchestrator.Accepted, "CANCELLED"},
		{"PENDING", "PENDING", submitting, orchestrator.Accepted, "PENDING"},

		{"PENDING", "PENDING", "", orchestrator.Aborted, "PENDING"},
		{"RUNNING", "PENDING", "", orchestrator.Aborted, "RUNNING"},
		{"RUNNING", "PENDING", submitting, orchestrator.Aborted, "RUNNING"},
		{"COMPLETED", "CRASHED", "", orchestrator.Aborted, "COMPLETED"},
		{"COMPLETED", "CANCELLING", "", orchestrator.Aborted, "COMPLETED"},
		{"FAILED", "RUNNING", "", orchestrator.Aborted, "FAILED"},
		{"CRASHED", "COMPLETED", "", orchestrator.Aborted, "CRASHED"},
		{"CANCELLED", "PENDING", "", orchestrator.Aborted, "CANCELLED"},
		{"CANCELLED", "SCHEDULED", "", orchestrator.Aborted, "CANCELLED"},

		{"CANCELLING", "FAILED", "", orchestrator.Rejected, "CANCELLING"},
		{"CANCELLING", "COMPLETED", "", orchestrator.Rejected, "CANCELLING"},
		{"SCHEDULED", "CANCELLING", "", orchestrator.Rejected, "CANCELLED"},
	} {
		t.Run(string(test.from)+" to "+string(test.to)+test.toName, func(t *testing.T) {
			proposed := orchestrator.NewState(test.to, "")
			if test.toName != "" {
				proposed.Name = test.toName
			}
			out := orchestrator.Decide(orchestrator.NewState(test.from, ""), proposed, orchestrator.RunFacts{})
			if out.Status != test.status || out.State.Type != test.holds {
				t.Errorf("%s, holds %s; want %s, %s", out.Status, out.State.Type, test.status, test.holds)
			}
			if (out.Reason == "") != (out.Status == orchestrator.Accepted) {
				t.Errorf("%s with reason %q", out.Status, out.Reason)
			}
		})
	}
}

func TestDecideIsIdempotent(t *testing.T) {
	s := orchestrator.NewState(orchestrator.TypeCompleted, "done")
	want := &orchestrator.Outcome{Status: orchestrator.Accepted, State: s}
	if diff := cmp.Diff(want, orchestrator.Decide(s, s, orchestrator.RunFacts{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaultNames(t *testing.T) {
	for typ, want := range map[orchestrator.StateType]string{
		orchestrator.TypeScheduled: "Scheduled", orchestrator.TypeCancelled: "Cancelled", orchestrator.TypeCrashed: "Crashed",
	} {
		if got := orchestrator.NewState(typ, "").Name; got != want {
			t.Errorf("%s is named %q, want %q", typ, got, want)
		}
	}
}

func TestRandomName(t *testing.T) {
	names := map[string]bool{}
	for range 50 {
		name := orchestrator.RandomName()
		if !regexp.MustCompile(`^[a-z]+-[a-z]+$`).MatchString(name) {
			t.Errorf("name %q", name)
		}
		names[name] = true
	}
	if len(names) < 40 {
		t.Errorf("%d names in 50", len(names))
	}
}
