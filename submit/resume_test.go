//go:build unix

package submit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// adrift is a platform with one job, whose program is gone. It prints "one", and "two" at its end.
type adrift struct {
	run    string        // of which it is
	end    chan struct{} // closed when it ends
	lost   bool          // the platform does not answer
	mu     sync.Mutex
	wanted *launch.FindOptions
	finds  int // for good
	starts int
	warned []string
}

func (a *adrift) warn(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.warned = append(a.warned, text)
}

func (a *adrift) Start(_ context.Context, job *launch.Job) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.starts++
	a.wanted = &launch.FindOptions{Stdout: job.Stdout, Take: job.Take}
	return "again", nil
}
func (*adrift) Stop(context.Context, string, time.Duration) error { return nil }
func (*adrift) Template() *launch.Template                        { return nil }

func (a *adrift) Find(_ context.Context, _ string, opts *launch.FindOptions) (bool, error) {
	if a.lost {
		return false, errors.New("no answer")
	}
	if opts.Wants() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.wanted = opts
		a.finds++
		fmt.Fprintln(opts.Stdout, "one")
	}
	select {
	case <-a.end:
		return true, nil
	default:
		return false, nil
	}
}

func (a *adrift) Wait(ctx context.Context, _ string) (*launch.Exit, error) {
	select {
	case <-a.end:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	fmt.Fprintln(a.wanted.Stdout, "two")
	record := execute.NotRun(a.run, orchestrator.NewState(orchestrator.TypeCompleted, ""), 0)
	record.Result = json.RawMessage("7")
	text, err := json.Marshal(record)
	if err == nil {
		err = os.WriteFile(a.wanted.Take[0].Source, text, 0o600)
	}
	return &launch.Exit{}, err
}

// newAdrift makes a run that nobody looks after, and a client that finds its job.
func newAdrift(t *testing.T) (*bed, *submit.Client, *adrift) {
	t.Helper()
	b := newBed(t)
	runs := b.runs(t)
	defer runs.Close()
	ctx := t.Context()
	template := []byte(`{"job_configuration": {"command": "{{ command }}"}, "variables": {"properties": {"command": {"type": "string"}}}}`)
	if _, err := runs.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: "dock", Type: "docker", BaseJobTemplate: template}); err != nil {
		t.Fatal(err)
	}
	lease := orchestrator.NewLease("launcher", 0)
	run, err := runs.CreateFlowRun(ctx, orchestrator.NewFlowRun{
		Flow: "f", Name: "adrift", WorkPool: "dock", State: orchestrator.NewState(orchestrator.TypeRunning, ""), Lease: &lease,
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir()), Key: "key"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(runs.SetInfrastructure(ctx, run.ID, "job"), runs.Release(ctx, lease)); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "flowship-executor-linux-"+runtime.GOARCH), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	job := &adrift{run: run.ID, end: make(chan struct{})}
	client, err := submit.OpenClient(ctx, &submit.ClientOptions{
		Home: b.home, Executor: []string{filepath.Join(bin, "flowship")}, Infrastructures: map[string]*launch.Infrastructure{"docker": launch.New("docker", job)},
		Warn: job.warn,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return b, client, job
}

// Of those who wait for a run that nobody looks after, one client takes it up; who stops waiting leaves
// it to the others, and its output is written once.
func TestWaitersTakeRunsUp(t *testing.T) {
	b, client, job := newAdrift(t)
	taken := func(times int) func() bool {
		return func() bool {
			job.mu.Lock()
			defer job.mu.Unlock()
			return job.finds == times
		}
	}
	short, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		client.Wait(short, job.run)
	}()
	until(t, "it is taken up", taken(1))
	leave()
	<-left
	if run, err := client.FlowRun(t.Context(), "adrift"); err != nil || run.State.Type != orchestrator.TypeRunning {
		t.Fatalf("who only looks sees %+v, %v", run, err)
	}
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			state, err := client.Wait(t.Context(), job.run)
			if err != nil || state.Type != orchestrator.TypeCompleted {
				t.Errorf("it ended %+v, %v", state, err)
			}
		})
	}
	until(t, "it is taken up again", taken(2))
	close(job.end)
	waiting.Wait()
	if result, err := client.Result(t.Context(), job.run); string(result) != "7" {
		t.Errorf("result %s, %v", result, err)
	}
	var lines []string
	for line, err := range client.Logs(t.Context(), job.run, nil) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line.Message)
	}
	if diff := cmp.Diff([]string{"one", "two"}, lines); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Running", "Completed"}, b.states(t, job.run)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A run that awaits its retry is launched by who takes it up, and the job of its last attempt is not
// looked for.
func TestWaitersLaunchRetries(t *testing.T) {
	b, client, job := newAdrift(t)
	runs := b.runs(t)
	defer runs.Close()
	failed := orchestrator.NewNamedState(orchestrator.TypeScheduled, orchestrator.NameAwaitingRetry, "")
	failed.Scheduled = time.Now().Add(time.Second)
	if _, err := runs.SetState(t.Context(), job.run, failed, nil); err != nil {
		t.Fatal(err)
	}
	close(job.end)
	if list, err := client.FlowRuns(t.Context(), orchestrator.Filter{}); err != nil || !list[0].State.AwaitsRetry() {
		t.Errorf("who only looks sees %+v, %v", list, err)
	}
	if state, err := client.Wait(t.Context(), job.run); err != nil || state.Type != orchestrator.TypeCompleted {
		t.Errorf("it ended %+v, %v", state, err)
	}
	run, err := runs.FlowRun(t.Context(), job.run)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{0, 1, "again"}, []any{job.finds, job.starts, run.Infrastructure}); diff != "" {
		t.Errorf("found, started, infrastructure (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Running", "AwaitingRetry", "Retrying", "Completed"}, b.states(t, job.run)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// Who looks settles a run whose job has ended, and leaves one alone whose job cannot be looked for.
func TestLookersSettleRuns(t *testing.T) {
	for _, test := range []struct {
		lost bool
		want orchestrator.StateType
	}{{false, orchestrator.TypeCompleted}, {true, orchestrator.TypeRunning}} {
		_, client, job := newAdrift(t)
		job.lost = test.lost
		close(job.end)
		runs, err := client.FlowRuns(t.Context(), orchestrator.Filter{})
		if err != nil || len(runs) != 1 || runs[0].State.Type != test.want {
			t.Errorf("the platform answers: %t: want %s, got %+v, %v", !test.lost, test.want, runs, err)
		}
	}
}

// Who wants the end of a run whose job cannot be looked for hears of that, once.
func TestCancellersHearThatNobodyStops(t *testing.T) {
	_, client, job := newAdrift(t)
	job.lost = true
	for range 2 {
		if state, err := client.Cancel(t.Context(), "adrift"); err != nil || state.Type != orchestrator.TypeCancelling {
			t.Errorf("the run is %+v, %v", state, err)
		}
	}
	want := []string{"nobody looks after flow run " + job.run + ", and its job cannot be looked for from here: worker: launch: find docker \"job\": no answer"}
	if diff := cmp.Diff(want, job.warned); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
