package launch_test

import (
	"testing"

	"github.com/flowship/flowship/launch"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		exit launch.Exit
		want string
	}{
		{launch.Exit{Code: 137, Signal: 9}, "exit code 137: killed (SIGKILL), often because memory ran out"},
		{launch.Exit{Code: 137, Reason: "its memory limit was reached"}, "exit code 137: its memory limit was reached"},
		{launch.Exit{Code: 42}, "exit code 42"},
		{launch.Exit{Code: 138, Signal: 10}, "exit code 138: ended by signal 10"},
	} {
		if got := test.exit.Explain(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.exit, got, test.want)
		}
	}
}
