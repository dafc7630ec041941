package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/flowship/flowship/launch"
)

// The rules, and the words of what they refuse, are those of Prefect's command line.
func TestLauncherFlags(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want *launch.Launcher
		err  string
	}{
		{name: "none"},
		{
			name: "both sides",
			args: []string{"--launcher", "poetry", "--launcher-arg", "run", "--launcher-arg", "python"},
			want: &launch.Launcher{Upload: []string{"poetry", "run", "python"}, Execution: []string{"poetry", "run", "python"}},
		},
		{
			name: "a side's own executable drops the shared arguments",
			args: []string{
				"--launcher", "python", "--launcher-arg", "-X", "--execution-launcher", "poetry",
				"--execution-launcher-arg", "run", "--execution-launcher-arg", "python",
			},
			want: &launch.Launcher{Upload: []string{"python", "-X"}, Execution: []string{"poetry", "run", "python"}},
		},
		{
			name: "a side's arguments follow the shared ones",
			args: []string{"--launcher", "python", "--launcher-arg", "-X", "--launcher-arg", "utf8", "--execution-launcher-arg", "-u"},
			want: &launch.Launcher{Upload: []string{"python", "-X", "utf8"}, Execution: []string{"python", "-X", "utf8", "-u"}},
		},
		{
			name: "one side alone, one token with a space",
			args: []string{"--upload-launcher", `C:\Program Files\python.exe`},
			want: &launch.Launcher{Upload: []string{`C:\Program Files\python.exe`}},
		},
		{name: "empty argument", args: []string{"--launcher", "", "--launcher-arg", " "}, err: "--launcher-arg cannot be empty."},
		{name: "arguments alone", args: []string{"--launcher-arg", "x"}, err: "--launcher-arg requires --launcher."},
		{name: "empty executable", args: []string{"--launcher", " "}, err: "--launcher cannot be empty."},
		{name: "empty argument of a side", args: []string{"--upload-launcher-arg", ""}, err: "--upload-launcher-arg cannot be empty."},
		{name: "empty executable of a side", args: []string{"--launcher", "x", "--execution-launcher", ""}, err: "--execution-launcher cannot be empty."},
		{
			name: "a side's arguments alone", args: []string{"--execution-launcher-arg", "x"},
			err: "--execution-launcher-arg requires --execution-launcher or --launcher.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l launcherFlags
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			l.register(flags)
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			got, err := l.launcher()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if message := errorText(err); message != test.err {
				t.Errorf("error %q, want %q", message, test.err)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
