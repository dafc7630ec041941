// Package infratest proves that a driver keeps the promises of package launch.
//
//	func TestConformance(t *testing.T) {
//		infratest.Run(t, func(t *testing.T) *launch.Infrastructure {
//			return launch.New(processinfra.Type, processinfra.New(nil))
//		}, infratest.Options{})
//	}
//
// The jobs are scripts for a POSIX shell, so the driver's platform, or the image that
// [Options.Variables] names, needs one.
package infratest

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// Options say what is special about a platform; the zero value is for one where nothing is.
type Options struct {
	// Variables are job variables that all jobs get.
	Variables map[string]any
	// Inherited names an environment variable that jobs have without being given it; "" if there
	// is none.
	Inherited string
	// Shared is a directory that jobs see under the same path and may write to; "" if there is
	// none. Then nobody looks whether a job's children end with it.
	Shared string
	// Files says that the platform copies [launch.Job.Files] and [launch.Job.Take]. One that does
	// not must refuse them.
	Files bool
	// Early says that the platform knows the id of a job before anything of it runs.
	Early bool
	// OneStream says that the platform does not tell standard output from standard error.
	OneStream bool
	// Deadline is how long anything may take; 0 means 20 seconds.
	Deadline time.Duration
	// Left returns the names of what jobs left behind; nil if there is no way to look.
	Left func(t *testing.T) []string
}

// Run runs the tests, each on an infrastructure of its own.
func Run(t *testing.T, open func(t *testing.T) *launch.Infrastructure, opts Options) {
	if opts.Deadline == 0 {
		opts.Deadline = 20 * time.Second
	}
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Exit", (*suite).exit},
		{"Output", (*suite).output},
		{"LongLine", (*suite).longLine},
		{"NoOutput", (*suite).noOutput},
		{"Environment", (*suite).environment},
		{"Command", (*suite).command},
		{"Refused", (*suite).refused},
		{"StartFails", (*suite).startFails},
		{"Stop", (*suite).stop},
		{"StopInsists", (*suite).stopInsists},
		{"StopEnded", (*suite).stopEnded},
		{"WaitGivesUp", (*suite).waitGivesUp},
		{"Waiters", (*suite).waiters},
		{"Find", (*suite).find},
		{"Known", (*suite).known},
		{"ManyAtOnce", (*suite).manyAtOnce},
		{"Files", (*suite).files},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*opts.Deadline)
			defer cancel()
			s := &suite{T: t, ctx: ctx, infra: open(t), opts: opts}
			test.run(s)
			s.nothingLeft()
		})
	}
}

type suite struct {
	*testing.T
	ctx   context.Context
	infra *launch.Infrastructure
	opts  Options
}

// nothingLeft looks after all jobs of a test have ended.
func (s *suite) nothingLeft() {
	s.Helper()
	if s.opts.Left == nil {
		return
	}
	if left := s.opts.Left(s.T); len(left) > 0 {
		s.Errorf("left behind: %q", left)
	}
}

// configure resolves the platform's template with job variables.
func (s *suite) configure(variables map[string]any) map[string]any {
	s.Helper()
	all := maps.Clone(s.opts.Variables)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, variables)
	configuration, err := s.infra.Template().Resolve(all)
	if err != nil {
		s.Fatal(err)
	}
	return configuration
}

func script(source string, args ...string) []string {
	return append([]string{"sh", "-c", source, "sh"}, args...)
}

// start starts a job, which ends with the test at the latest.
func (s *suite) start(job launch.Job) *launch.Running {
	s.Helper()
	if job.Configuration == nil {
		job.Configuration = s.configure(nil)
	}
	r, err := s.infra.Start(s.ctx, job)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.Deadline)
		defer cancel()
		r.Stop(ctx, time.Nanosecond)
		r.Wait(ctx)
	})
	return r
}

func (s *suite) wait(r *launch.Running) launch.Exit {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Deadline)
	defer cancel()
	exit, err := r.Wait(ctx)
	if err != nil {
		s.Fatal(err)
	}
	return *exit
}

// until waits for a condition.
func (s *suite) until(what string, done func() bool) {
	s.Helper()
	Until(s.ctx, s, s.opts.Deadline, what, done)
}

func (s *suite) exit() {
	for code, source := range map[int]string{0: "exit 0", 1: "exit 1", 7: "exit 7", 255: "exit 255"} {
		if got := s.wait(s.start(launch.Job{Command: script(source)})); got.Code != code || got.Signal != 0 {
			s.Errorf("%q: %+v", source, got)
		}
	}
}

func (s *suite) known() {
	var out Output
	var ids, printed []string
	r := s.start(launch.Job{Command: script("echo begun"), Stdout: &out, Known: func(id string) {
		ids, printed = append(ids, id), append(printed, out.String())
	}})
	s.wait(r)
	var want, nothing []string
	if s.opts.Early {
		want, nothing = []string{r.ID()}, []string{""}
	}
	if diff := cmp.Diff(want, ids); diff != "" {
		s.Errorf("ids that were known early (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(nothing, printed); diff != "" {
		s.Errorf("what the job had printed then (-want +got):\n%s", diff)
	}
}

func (s *suite) output() {
	var out, errs Output
	exit := s.wait(s.start(launch.Job{Command: script(`printf 'one\ntwo'; printf 'three' >&2; exit 3`), Stdout: &out, Stderr: &errs}))
	if exit.Code != 3 {
		s.Errorf("exit %+v", exit)
	}
	got := map[string]string{"stdout": out.String(), "stderr": errs.String()}
	if s.opts.OneStream {
		// What comes at the same time from both may come in any order.
		for _, word := range []string{"one\n", "two", "three"} {
			if strings.Count(got["stdout"], word) != 1 {
				s.Errorf("output %q, want %q in it once", got, word)
			}
		}
		return
	}
	if diff := cmp.Diff(map[string]string{"stdout": "one\ntwo", "stderr": "three"}, got); diff != "" {
		s.Errorf("output (-want +got):\n%s", diff)
	}
}

func (s *suite) longLine() {
	const size = 10 << 20
	var out Output
	s.wait(s.start(launch.Job{Command: script(`head -c "$1" /dev/zero | tr '\0' x; echo end`, "10485760"), Stdout: &out}))
	got := out.String()
	if x := strings.Count(got, "x"); x != size || !strings.HasSuffix(got, "xend\n") || len(got) != size+4 {
		s.Errorf("%d bytes arrived, %d of the line", len(got), x)
	}
}

func (s *suite) noOutput() {
	var out, errs Output
	configuration := s.configure(map[string]any{"stream_output": false})
	exit := s.wait(s.start(launch.Job{Configuration: configuration, Command: script("echo out; echo err >&2; exit 4"), Stdout: &out, Stderr: &errs}))
	if exit.Code != 4 || out.String()+errs.String() != "" {
		s.Errorf("exit %+v, output %q and %q", exit, out.String(), errs.String())
	}
}

func (s *suite) environment() {
	var out Output
	s.wait(s.start(launch.Job{
		Configuration: s.configure(map[string]any{"env": map[string]any{
			"CONFIGURED": "a b", "BOTH": "configured", "COUNT": 3, "OFF": nil, "REVIVED": nil, "EMPTY": "",
		}}),
		Command: script(`echo "$CONFIGURED|$BOTH|$COUNT|${OFF-unset}|$REVIVED|${EMPTY-unset}|$OURS"`),
		Env:     []string{"BOTH=ours", "OURS=x=y", "REVIVED=again"},
		Stdout:  &out,
	}))
	if diff := cmp.Diff("a b|ours|3|unset|again||x=y\n", out.String()); diff != "" {
		s.Errorf("variables (-want +got):\n%s", diff)
	}
	if s.opts.Inherited == "" {
		return
	}
	const show = `eval "echo \${$1+set}"`
	var with, without Output
	s.wait(s.start(launch.Job{Command: script(show, s.opts.Inherited), Stdout: &with}))
	s.wait(s.start(launch.Job{
		Configuration: s.configure(map[string]any{"env": map[string]any{s.opts.Inherited: nil}}),
		Command:       script(show, s.opts.Inherited), Stdout: &without,
	}))
	if with.String() != "set\n" || without.String() != "\n" {
		s.Errorf("%s is %q, and unset %q", s.opts.Inherited, with.String(), without.String())
	}
}

func (s *suite) command() {
	var out Output
	words := script(`for a; do printf '<%s>' "$a"; done`, "a b", "it's", `"`, `\`, "", "x\ny", "$HOME", "é")
	s.wait(s.start(launch.Job{
		Configuration: s.configure(map[string]any{"command": launch.Join(words)}),
		Command:       script("echo wrong"),
		Stdout:        &out,
	}))
	if diff := cmp.Diff("<a b><it's><\"><\\><><x\ny><$HOME><é>", out.String()); diff != "" {
		s.Errorf("arguments (-want +got):\n%s", diff)
	}
}

func (s *suite) refused() {
	for _, test := range []struct {
		name  string
		value any
		near  string
	}{
		{"comand", "x", "command"},
		{"ENV", map[string]any{}, "env"},
		{"env", []string{"A=b"}, ""},
		{"command", 3, ""},
		{"labels", "x", ""},
	} {
		variables := maps.Clone(s.opts.Variables)
		if variables == nil {
			variables = map[string]any{}
		}
		variables[test.name] = test.value
		_, err := s.infra.Template().Resolve(variables)
		var wrong *launch.VariableError
		if !errors.As(err, &wrong) || wrong.Name != test.name || wrong.Near != test.near {
			s.Errorf("%s: %v", test.name, err)
		}
	}
	// What no template checked is refused by the driver.
	for name, value := range map[string]any{"env": "x", "command": `sh -c 'exit`, "labels": 3} {
		configuration := s.configure(nil)
		configuration[name] = value
		if r, err := s.infra.Start(s.ctx, launch.Job{Configuration: configuration, Command: script("exit 0")}); err == nil {
			s.wait(r)
			s.Errorf("%s: %v started a job", name, value)
		}
	}
}

func (s *suite) startFails() {
	for name, job := range map[string]launch.Job{
		"no command":       {},
		"null byte":        {Command: []string{"true", "a\x00b"}},
		"bad variable":     {Command: []string{"true"}, Env: []string{"=x"}},
		"variable's name":  {Command: []string{"true"}, Configuration: map[string]any{"env": map[string]any{"A=B": "c"}}},
		"variable's value": {Command: []string{"true"}, Configuration: map[string]any{"env": map[string]any{"A": "\x00"}}},
	} {
		if job.Configuration == nil {
			job.Configuration = map[string]any{}
		}
		all := s.configure(nil)
		maps.Copy(all, job.Configuration)
		job.Configuration = all
		if r, err := s.infra.Start(s.ctx, job); err == nil {
			s.wait(r)
			s.Errorf("%s: it started", name)
		}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if r, err := s.infra.Start(ctx, launch.Job{Configuration: s.configure(nil), Command: script("exit 0")}); !errors.Is(err, context.Canceled) {
		if r != nil {
			s.wait(r)
		}
		s.Errorf("started in a context that has ended: %v", err)
	}
	// Some platforms accept a job before they look for its command.
	r, err := s.infra.Start(s.ctx, launch.Job{Configuration: s.configure(nil), Command: []string{"no-such-command-anywhere"}})
	if err != nil {
		return
	}
	if exit := s.wait(r); exit.Code == 0 {
		s.Error("a command that there is not went well")
	}
}
