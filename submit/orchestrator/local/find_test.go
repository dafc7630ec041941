package local_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowship/flowship/submit/orchestrator"
)

func TestFindFlowRun(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	const (
		first  = "0a000000-0000-4000-8000-000000000001"
		second = "0a100000-0000-4000-8000-000000000002"
		third  = "b0000000-0000-4000-8000-000000000003"
	)
	for id, name := range map[string]string{first: "twin", second: "twin", third: "0A1"} {
		n := orchestrator.NewFlowRun{ID: id, Name: name, Flow: "f", State: state(orchestrator.TypeCompleted)}
		if _, err := o.CreateFlowRun(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		ref, want string
		err       error
		message   string
	}{
		{ref: first, want: first},
		{ref: strings.ToUpper(second), want: second},
		{ref: "0a0", want: first},
		{ref: "0a00", want: first},
		{ref: "0a100000-", want: second},
		{ref: "B", want: third},
		{ref: "0A1", want: third}, // a name comes first
		{ref: "0a1", want: second},
		{ref: "0a", err: orchestrator.ErrAmbiguous, message: second + ", " + first},
		{ref: "twin", err: orchestrator.ErrAmbiguous, message: first},
		{ref: "", err: orchestrator.ErrNotFound},
		{ref: "0a2", err: orchestrator.ErrNotFound, message: `"0a2"`},
		{ref: "0a%", err: orchestrator.ErrNotFound},
		{ref: "none", err: orchestrator.ErrNotFound},
	} {
		t.Run(test.ref, func(t *testing.T) {
			run, err := o.FindFlowRun(t.Context(), test.ref)
			switch {
			case test.err == nil && (err != nil || run.ID != test.want):
				t.Errorf("%+v, %v; want %s", run, err, test.want)
			case test.err != nil && (!errors.Is(err, test.err) || strings.Count(err.Error(), first) != strings.Count(test.message, first)):
				t.Errorf("error %v, want %v with %q", err, test.err, test.message)
			}
		})
	}
}
