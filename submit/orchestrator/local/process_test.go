package local_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

const (
	childVariable = "FLOWSHIP_TEST_DB"
	claimVariable = "FLOWSHIP_TEST_CLAIM"
)

func TestMain(m *testing.M) {
	path := os.Getenv(childVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	do := child
	if os.Getenv(claimVariable) != "" {
		do = claimAll
	}
	if err := do(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const runsPerChild = 20

// child is another process at the same file.
func child(path string) error {
	ctx := context.Background()
	o, err := local.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer o.Close()
	for range runsPerChild {
		submitter, executor := orchestrator.NewLease("submitter", 0), orchestrator.NewLease("executor", 0)
		run, err := o.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "f", State: state(orchestrator.TypePending), Lease: &submitter})
		if err != nil {
			return err
		}
		if err := o.Hold(ctx, run.ID, executor); err != nil {
			return err
		}
		if err := o.Release(ctx, submitter); err != nil {
			return err
		}
		if n, err := o.EndLost(ctx); err != nil || n != 0 {
			return fmt.Errorf("%d runs were ended whose holders live, error %v", n, err)
		}
		if err := o.Renew(ctx, executor); err != nil {
			return err
		}
		for _, typ := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypeCompleted} {
			if _, err := o.SetState(ctx, run.ID, state(typ), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Several processes create the file and write to it at once, and look for runs that are lost.
func TestProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var wg sync.WaitGroup
	for range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	runs, err := open(t, path).FlowRuns(t.Context(), orchestrator.Filter{States: []orchestrator.StateType{orchestrator.TypeCompleted}})
	if err != nil || len(runs) != 4*runsPerChild {
		t.Errorf("%d runs, error %v; want %d", len(runs), err, 4*runsPerChild)
	}
}

const (
	runsToClaim = 60
	limitOfPool = 3
)

// claimAll is a worker in another process: it claims what there is, and runs it, until nothing is
// left.
func claimAll(path string) error {
	ctx := context.Background()
	o, err := local.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer o.Close()
	for {
		left, err := o.FlowRuns(ctx, orchestrator.Filter{States: []orchestrator.StateType{orchestrator.TypeScheduled}, Limit: 1})
		if err != nil || len(left) == 0 {
			return err
		}
		offered, err := o.ScheduledFlowRuns(ctx, "local", time.Time{}, 0)
		if err != nil {
			return err
		}
		for _, run := range offered {
			lease := orchestrator.NewLease("launcher", 0)
			out, err := o.SetState(ctx, run.ID, state(orchestrator.TypePending), &orchestrator.SetStateOptions{Lease: &lease})
			if err != nil {
				return err
			}
			if out.Status != orchestrator.Accepted {
				continue
			}
			pool, err := o.WorkPool(ctx, "local")
			if err != nil {
				return err
			}
			if pool.ActiveSlots > limitOfPool {
				return fmt.Errorf("%d runs are under way", pool.ActiveSlots)
			}
			for _, typ := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypeCompleted} {
				if _, err := o.SetState(ctx, run.ID, state(typ), nil); err != nil {
					return err
				}
			}
		}
	}
}

// Workers in several processes claim each run once, and never more at once than the pool allows.
func TestClaimingProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	o, limit := open(t, path), limitOfPool
	if _, err := o.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: "local", Type: "process", ConcurrencyLimit: &limit}); err != nil {
		t.Fatal(err)
	}
	for range runsToClaim {
		n := orchestrator.NewFlowRun{Flow: "f", WorkPool: "local", State: state(orchestrator.TypeScheduled)}
		if _, err := o.CreateFlowRun(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path, claimVariable+"=1")
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	runs, err := o.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil || len(runs) != runsToClaim {
		t.Fatalf("%d runs, error %v", len(runs), err)
	}
	for _, run := range runs {
		states, err := o.States(t.Context(), run.ID)
		if err != nil || len(states) != 4 || run.State.Type != orchestrator.TypeCompleted {
			t.Errorf("%+v, %v", states, err)
		}
	}
}
