//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// newHome makes a home that the environment names, as programs on the SDK find it.
func newHome(t *testing.T) *bed {
	b := newBed(t)
	t.Setenv("FLOWSHIP_HOME", b.home)
	return b
}

// limited ends a test that hangs: some launch a dozen runs.
func limited(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	return ctx
}

func TestFlowRuns(t *testing.T) {
	b, ctx := newHome(t), limited(t)
	value, err := doFlow.With(submit.Options{Name: submit.String("counting"), Tags: []string{"a"}, Version: submit.String("v2")}).Run(ctx, deed{Do: "count", Count: 7})
	if err != nil || value != 7.0 {
		t.Fatalf("%v, %v", value, err)
	}
	b.wantTidy(t)
	run, err := b.client.FlowRun(ctx, "counting")
	if err != nil || run.Flow != "do" || string(run.Parameters) != `{"do":"count","count":7}` || !slices.Equal(run.Tags, []string{"a"}) {
		t.Errorf("%+v, %v", run, err)
	}
	if _, err := noneFlow.Run(ctx, struct{}{}); err != nil {
		t.Error(err)
	}

	dir := tree(t, map[string]string{"config.yaml": "rate: 1\n"})
	bound := doFlow.On(submit.Infrastructure{Type: "process", Dir: dir, IncludeFiles: []string{"config.yaml"}})
	if value, err := bound.Run(ctx, deed{Do: "read"}); err != nil || value != "rate: 1\n" {
		t.Errorf("%v, %v", value, err)
	}
	_, err = bound.On(submit.Infrastructure{IncludeFiles: []string{}}).Run(ctx, deed{Do: "read"})
	if failed, ok := errors.AsType[*submit.RunError](err); !ok || failed.Message != "open config.yaml: no such file or directory" || failed.State.Type != orchestrator.TypeFailed {
		t.Errorf("%v", err)
	}
	if value, err := doFlow.Run(ctx, deed{Do: "nested", Count: 2}); err != nil || value != 3.0 {
		t.Errorf("nested: %v, %v", value, err)
	}
}

func TestFlowFailures(t *testing.T) {
	newHome(t)
	ctx := limited(t)
	_, err := noneFlow.On(submit.Infrastructure{JobVariables: map[string]any{"working_dir": "/nowhere"}}).Run(ctx, struct{}{})
	failed, ok := errors.AsType[*submit.RunError](err)
	if _, launch := errors.AsType[*submit.LaunchError](err); !ok || !launch || failed.State.Type != orchestrator.TypeCrashed {
		t.Errorf("not launched: %v", err)
	}
	for _, test := range []struct {
		in    deed
		state orchestrator.StateType
		want  string
	}{
		{deed{Do: "fail"}, orchestrator.TypeFailed, "no such dataset: file does not exist"},
		{deed{Do: "panic"}, orchestrator.TypeFailed, "panic: out of cheese"},
		{deed{Do: "exit", Count: 3}, orchestrator.TypeCrashed, "the flow ended its process before it returned, exit code 3"},
		{deed{Do: "exit"}, orchestrator.TypeCrashed, "the flow ended its process before it returned, exit code 0"},
		{deed{Do: "nan"}, orchestrator.TypeFailed, "the result is not JSON: json: unsupported value: NaN"},
	} {
		_, err := doFlow.Run(ctx, test.in)
		failed, ok := errors.AsType[*submit.RunError](err)
		if !ok || failed.State.Type != test.state || failed.Message != test.want {
			t.Errorf("%+v: %v", test.in, err)
		}
	}
	for want, infra := range map[string]submit.Infrastructure{
		`submit: flow "do": work pool "local": `: {Type: "docker"},
		`job variable "iamge"`:                   {JobVariables: map[string]any{"iamge": "x"}},
		`work pool not found`:                    {WorkPool: "none"},
		`a test program cannot be built`:         {Platform: "plan9/amd64"},
		`"/none": no such file or directory`:     {IncludeFiles: []string{"none/"}, Dir: "/none"},
	} {
		_, err := doFlow.On(infra).Submit(ctx, deed{Do: "count"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "submit: ") != 1 {
			t.Errorf("%+v: %v", infra, err)
		}
	}
}

func TestFlowFutures(t *testing.T) {
	b, ctx := newHome(t), limited(t)
	a, err := sumFlow.Submit(ctx, struct{ A, B int }{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	queued, err := sumFlow.SubmitToWorkPool(ctx, struct{ A, B int }{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := queued.State(ctx); err != nil || state.Type != orchestrator.TypeScheduled {
		t.Errorf("%v, %v", state, err)
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if _, err := queued.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody runs it: %v", err)
	}
	done := make(chan submit.State, 1)
	queued.OnDone(func(s submit.State) { done <- s })
	defer b.work(t, worker.Options{WorkPool: "local"})()
	total, err := submit.Call(sumFlow, submit.Args{"A": a, "B": queued}).Run(ctx)
	if err != nil || total != 10 {
		t.Errorf("%v, %v", total, err)
	}
	select {
	case state := <-done:
		if state.Type != orchestrator.TypeCompleted {
			t.Error(state)
		}
	case <-ctx.Done():
		t.Error("OnDone: not called")
	}
	other, err := submit.Attach[int](queued.ID())
	if err != nil {
		t.Fatal(err)
	}
	if value, err := other.Result(ctx); err != nil || value != 7 {
		t.Errorf("attached: %v, %v", value, err)
	}
	gone, err := submit.Attach[int]("00000000-0000-4000-8000-000000000000")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Wait(ctx); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("no such run: %v", err)
	}
	if _, err := gone.State(ctx); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("no such run: %v", err)
	}
}

func TestFlowCancel(t *testing.T) {
	b, ctx := newHome(t), limited(t)
	f, err := doFlow.Submit(ctx, deed{Do: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	for l, err := range b.client.Logs(ctx, f.ID(), &submit.LogsOptions{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Message == "waiting" {
			break
		}
	}
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if state, err := f.Wait(ctx); err != nil || state.Type != orchestrator.TypeCancelled {
		t.Errorf("%v, %v", state, err)
	}
	if err := f.Cancel(ctx); err != nil {
		t.Errorf("again: %v", err)
	}
	again, err := submit.Attach[any](f.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Cancel(ctx); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

func TestFlowLogs(t *testing.T) {
	b, ctx := newHome(t), limited(t)
	f, err := doFlow.Submit(ctx, deed{Do: "log", Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := f.Result(ctx); err != nil || id != f.ID() {
		t.Errorf("%v, %v", id, err)
	}
	got := map[string]string{}
	for l, err := range b.client.Logs(ctx, f.ID(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		got[l.Name] += l.Message + "\n"
	}
	if got["flowship.flow"] != "logged count=2\n" || got["flowship.stdout"] != "printed\n" {
		t.Errorf("%q", got)
	}
}

func TestFlowRetries(t *testing.T) {
	b, ctx := newHome(t), limited(t)
	f, err := doFlow.With(submit.Options{Retries: submit.Int(1)}).Submit(ctx, deed{Do: "fail"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	states := b.states(t, f.ID())
	if last := states[len(states)-4:]; !slices.Equal(last, []string{"Running", "AwaitingRetry", "Retrying", "Failed"}) {
		t.Error(states)
	}
}

// TestManyFlowRuns: a hundred runs at once through one client.
func TestManyFlowRuns(t *testing.T) {
	b, ctx := newHome(t), t.Context()
	futures := []submit.AnyFuture{}
	for i := range 100 {
		f, err := sumFlow.SubmitToWorkPool(ctx, struct{ A, B int }{i, 1})
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, f)
	}
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	unfinished := ""
	for _, err := range submit.AsCompleted(short, futures...) {
		if err != nil {
			unfinished = err.Error()
		}
	}
	if unfinished != "submit: 100 (of 100) futures unfinished: context deadline exceeded" {
		t.Error(unfinished)
	}
	client := b.open(t)
	go func() {
		for _, f := range futures {
			client.Cancel(ctx, f.ID())
		}
	}()
	if done, pending := submit.Wait(limited(t), futures...); len(done) != 100 || len(pending) != 0 {
		t.Errorf("%d done, %d pending", len(done), len(pending))
	}
}

func goBuild(t *testing.T, dir string) *submit.Program {
	t.Helper()
	p, err := submit.BuildProgram(t.Context(), dir, &submit.BuildOptions{Cache: filepath.Join(os.TempDir(), "flowship-test-programs")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTrain runs the example of the SDK as it stands.
func TestTrain(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	b := newHome(t)
	defer b.work(t, worker.Options{WorkPool: "local"})()
	program := filepath.Join(t.TempDir(), "train")
	if out, err := exec.Command("go", "build", "-o", program, "../testdata/flows/train").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(limited(t), program)
	cmd.Dir = t.TempDir() // the files are those beside the source, wherever it is started
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	id := "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
	want := regexp.MustCompile(`^` + id + ` <nil>\n` + id + ` <nil>\n2 0 \{19\}\n\{19\} <nil> COMPLETED Completed\n$`)
	if !want.Match(out) {
		t.Errorf("printed %q\n%s", out, stderr.String())
	}
	if !strings.Contains(stderr.String(), "training dataset=a") {
		t.Errorf("stderr %q", stderr.String())
	}
	runs, err := b.client.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil || len(runs) != 3 {
		t.Fatalf("%v, %v", runs, err)
	}
	opened, cleanup, err := b.client.OpenBundle(t.Context(), runs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	paths := []string{}
	for _, e := range opened.Document.Flowship.Files {
		paths = append(paths, e.Path)
	}
	if diff := cmp.Diff([]string{"config.yaml", "data/a.csv", "data/b.csv"}, paths); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestWordCount: the command line's way, a program that is built and then asked for its flow.
func TestWordCount(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	b := newBed(t)
	dir := "../testdata/flows/wordcount"
	run := b.run(t, submit.Invocation{Runtime: bundle.RuntimeGo, Entrypoint: dir + ":WordCount", Program: goBuild(t, dir), Dir: dir, Include: []string{"texts/"}, Parameters: json.RawMessage(`{"top": 2}`)})
	want := `{"lines":76,"words":{"gettysburg":281,"jabberwocky":169,"sonnet18":117},"most_used":[{"word":"the","count":32},{"word":"and","count":25}]}`
	if diff := cmp.Diff(want, string(run.Result)); diff != "" || run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("%+v (-want +got):\n%s", run.State, diff)
	}
	_, err := b.client.Run(t.Context(), submit.Invocation{Runtime: bundle.RuntimeGo, Entrypoint: dir + ":Wordcount", Program: goBuild(t, dir), Dir: dir})
	if _, ok := errors.AsType[*submit.InvalidError](err); !ok || !strings.Contains(err.Error(), `the program has no flow "Wordcount", did you mean "WordCount"?`) {
		t.Error(err)
	}
}
