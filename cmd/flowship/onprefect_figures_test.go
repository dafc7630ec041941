//go:build unix

package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// One client submits two hundred runs at once, and twenty command lines one each, to a server that
// answers 503 whenever its SQLite is busy.
func TestManySubmissions(t *testing.T) {
	tm, _, _ := newTeamInWeather(t)
	settings, err := prefect.Discover(&prefect.DiscoverOptions{Environ: tm.env, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range tm.env { // of the store
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
	client, err := submit.OpenClient(t.Context(), &submit.ClientOptions{
		Home: t.TempDir(), Executor: []string{tm.launcher, "step"}, Storage: &storage.OpenOptions{Openers: openers()}, Prefect: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const calls, processes = 200, 20
	var mu sync.Mutex
	ids := map[string]bool{}
	note := func(id string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		ids[id] = true
	}
	began := time.Now()
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			run, err := client.SubmitToWorkPool(t.Context(), submit.Invocation{WorkPool: tm.pool, Command: []string{"true"}})
			if err != nil {
				note("", err)
				return
			}
			note(run.ID, nil)
		})
	}
	all.Wait()
	t.Logf("%d calls took %v", calls, time.Since(began))
	began = time.Now()
	for range processes {
		all.Go(func() {
			out, errs, code := tm.try("submit-to-work-pool", "--pool", tm.pool, "--", "true")
			if code != 0 {
				note("", fmt.Errorf("exit code %d: %s", code, errs))
				return
			}
			note(strings.TrimSpace(out), nil)
		})
	}
	all.Wait()
	t.Logf("%d processes took %v", processes, time.Since(began))
	var scheduled int
	tm.get("/flow_runs/count", fmt.Sprintf(`{"work_pools": {"name": {"any_": [%q]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}`, tm.pool), &scheduled)
	if want := calls + processes; len(ids) != want || scheduled != want {
		t.Errorf("%d ids, %d runs are SCHEDULED, want %d", len(ids), scheduled, want)
	}
}

// A worker takes a run at most an interval and a second after it is SCHEDULED, also where it
// hears nothing. A busy machine may keep it from some of them.
func TestPickUp(t *testing.T) {
	const interval, enough, rounds = 2 * time.Second, 4, 12
	for name, mood := range map[string]mood{
		"with WebSockets": nil,
		"without": func(_ *http.Request, kind string, _ int) *fault {
			if strings.HasPrefix(kind, "WS") {
				return &fault{status: http.StatusNotFound}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			tm, api, _ := newTeamInWeather(t)
			tm.env = append(tm.env, fmt.Sprintf("PREFECT_WORKER_QUERY_SECONDS=%d", int(interval.Seconds())))
			api.set(mood)
			tm.serve()
			tm.eventually("the worker looks for work", func() bool { return api.count("POST work_pools/ID/get_scheduled_flow_runs") > 0 })
			soon := 0
			var all []time.Duration
			for len(all) < rounds && soon < enough {
				id := tm.submitted("--", "true")
				tm.eventually("it has ended", func() bool { return slices.Contains(tm.inPool("COMPLETED"), id) })
				var states []struct {
					Type      string
					Timestamp time.Time
				}
				tm.get("/flow_run_states/?flow_run_id="+id, "", &states)
				var due, taken time.Time
				for _, s := range states {
					switch {
					case s.Type == "SCHEDULED":
						due = s.Timestamp
					case s.Type == "PENDING" && !due.IsZero() && taken.IsZero():
						taken = s.Timestamp
					}
				}
				took := taken.Sub(due)
				if all = append(all, took); took <= interval+time.Second {
					soon++
				}
			}
			t.Logf("picked up after %v", all)
			if soon < enough {
				t.Errorf("picked up after %v, and only %d times within %v and a second", all, soon, interval)
			}
		})
	}
}
