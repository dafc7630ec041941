//go:build unix

package main

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Without WebSockets, and with those that break all the time, runs are cancelled and waited for.
func TestCancelWithoutWebSockets(t *testing.T) {
	for name, mood := range map[string]func(w *weather) mood{
		"refused": func(*weather) mood {
			return func(_ *http.Request, kind string, _ int) *fault {
				if strings.HasPrefix(kind, "WS") {
					return &fault{status: http.StatusForbidden}
				}
				return nil
			}
		},
		"dropped": func(w *weather) mood {
			return func(_ *http.Request, kind string, nth int) *fault {
				if kind == "GET flow_runs/ID" || kind == "POST flow_runs/filter" {
					return &fault{first: func() {
						if nth%4 == 0 {
							w.cutSockets()
						}
					}}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tm, api, _ := newTeamInWeather(t)
			tm.serve()
			api.set(mood(api))
			id := tm.submitted("--", "sleep", "1000")
			waiting, log := tm.start("flow-run", "wait", id)
			tm.eventually("it runs", func() bool { return slices.Contains(tm.inPool("RUNNING"), id) })
			began := time.Now()
			tm.flowship("flow-run", "cancel", id)
			err := waiting.Wait()
			if took := time.Since(began); waiting.ProcessState.ExitCode() != exitNotCompleted || took > time.Minute {
				t.Errorf("wait: %v after %v\n%s", err, took, log)
			}
			if got := tm.look(id).States; got[len(got)-1] != "Cancelled" {
				t.Errorf("states %q", got)
			}
		})
	}
}

// A server that only a proxy finds is reached through it, by what is launched as well.
func TestThroughHTTPProxy(t *testing.T) {
	tm, api, _ := newTeamInWeather(t)
	tm.env = append(tm.env, "HTTP_PROXY=http://"+api.address, "PREFECT_API_URL=http://prefect.example/api")
	api.set(func(r *http.Request, _ string, _ int) *fault {
		if r.Host != "prefect.example" {
			return &fault{status: http.StatusBadRequest}
		}
		return nil
	})
	out := tm.flowship("run", "--pool", tm.pool, "--name", tm.pool, "--", "sh", "-c", `echo '"through"' >"$FLOWSHIP_RESULT"`)
	if result := strings.TrimSpace(tm.flowship("flow-run", "result", tm.pool)); result != `"through"` {
		t.Errorf("result %s\n%s", result, out)
	}
	if n := api.count("WS events/out"); n == 0 {
		t.Error("nobody listens for events")
	}
}

// Of two workers one gets each run.
func TestWorkersRace(t *testing.T) {
	tm, _, _ := newTeamInWeather(t)
	sheet := newTallySheet(t)
	ids := make([]string, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() { ids[i] = tm.submitted(sheet.command()...) })
	}
	all.Wait()
	tm.serve("--name", "one")
	tm.serve("--name", "two")
	if _, errs, code := tm.try(append([]string{"flow-run", "wait"}, ids...)...); code != 0 {
		t.Errorf("wait: exit code %d\n%s", code, errs)
	}
	sheet.want(t, ids...)
}

// Somebody may delete or cancel a run that is not submitted yet.
func TestRunEndsWhileSubmitted(t *testing.T) {
	tm, api, _ := newTeamInWeather(t)
	for _, test := range []struct {
		name   string
		method string
		path   string
		body   string
		said   string
		states []string // nil: there is none any more
	}{
		{"deleted", http.MethodDelete, "", "", "was deleted while it was submitted", nil},
		{"cancelled", http.MethodPost, "/set_state", `{"state": {"type": "CANCELLING"}}`, "Cancel", []string{"Pending", "Cancelling", "Cancelled"}},
	} {
		for _, moment := range []string{"PATCH flow_runs/ID/labels", "POST flow_runs/ID/set_state"} {
			t.Run(test.name+" before "+moment, func(t *testing.T) {
				var id string
				api.set(func(r *http.Request, kind string, nth int) *fault {
					if kind != moment || nth > 1 {
						return nil
					}
					return &fault{first: func() {
						id = strings.Split(r.URL.Path, "/")[3]
						if _, err := tm.call(t.Context(), test.method, "/flow_runs/"+id+test.path, test.body); err != nil {
							t.Error(err)
						}
					}}
				})
				out, errs, code := tm.try("submit-to-work-pool", "--pool", tm.pool, "--", "true")
				if code == 0 || !strings.Contains(errs, test.said) {
					t.Errorf("exit code %d\n%s%s", code, out, errs)
				}
				if test.states == nil {
					if left := tm.inPool("PENDING", "SCHEDULED"); left != nil {
						t.Errorf("left: %q", left)
					}
					return
				}
				if diff := cmp.Diff(test.states, tm.look(id).States); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// documentPut matches the request that stores a document.
func documentPut(r *http.Request) bool {
	return r.Method == http.MethodPut && !strings.Contains(r.URL.Path, "/files/") && !strings.Contains(r.URL.Path, "/results/") && !strings.Contains(r.URL.Path, "/programs/")
}

// A document that cannot be stored, or whose storing is interrupted, ends its run.
func TestUploadFails(t *testing.T) {
	tm, _, s3 := newTeamInWeather(t)
	for _, way := range []string{"submit-to-work-pool", "submit", "run"} {
		t.Run(way, func(t *testing.T) {
			before := len(tm.inPool("CRASHED"))
			s3.set(func(r *http.Request, _ string, _ int) *fault {
				if documentPut(r) {
					return &fault{status: http.StatusForbidden, body: `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`}
				}
				return nil
			})
			if out, errs, code := tm.try(way, "--pool", tm.pool, "--", "true"); code != exitUnavailable || !strings.Contains(errs, "AccessDenied") && !strings.Contains(errs, "not permitted") && !strings.Contains(errs, "ermission") {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			crashed := tm.inPool("CRASHED")
			if len(crashed) != before+1 {
				t.Fatalf("%d runs are CRASHED, want %d", len(crashed), before+1)
			}
			s3.set(func(r *http.Request, _ string, _ int) *fault {
				if documentPut(r) {
					return &fault{delay: time.Minute}
				}
				return nil
			})
			cmd, log := tm.start(way, "--pool", tm.pool, "--", "true")
			tm.eventually("a run is created", func() bool { return len(tm.inPool("PENDING")) == 1 })
			id := tm.inPool("PENDING")[0]
			began := time.Now()
			interrupt(t, cmd, syscall.SIGINT)
			if took := time.Since(began); took > 30*time.Second { // the store would answer after a minute
				t.Errorf("Ctrl-C took %v\n%s", took, log)
			}
			got := tm.look(id)
			if got.States[len(got.States)-1] != "Cancelled" || !strings.Contains(got.Message, "interrupt") {
				t.Errorf("states %q, message %q", got.States, got.Message)
			}
		})
	}
}

// Whoever is killed: the next one to look sees the run CRASHED.
func TestKilledOnPrefect(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		worker  bool
		blocked bool   // the document is never stored
		killed  string // "" for the first process, or what its command line holds
	}{
		{name: "submitter with a run that is not stored", args: []string{"submit-to-work-pool", "--", "sleep", "100"}, blocked: true},
		{name: "submitter of a direct call", args: []string{"run", "--", "sleep", "100"}},
		{name: "worker", args: []string{"submit-to-work-pool", "--", "sleep", "100"}, worker: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tm, _, s3 := newTeamInWeather(t)
			tm.becomeBrief()
			if test.blocked {
				s3.set(func(r *http.Request, _ string, _ int) *fault { return &fault{delay: time.Minute} })
			}
			args := slices.Concat(test.args[:1], []string{"--pool", tm.pool}, test.args[1:])
			if test.worker {
				tm.flowship(args...)
				args = []string{"worker", "start", "--pool", tm.pool}
			}
			cmd, log := tm.start(args...)
			state := "RUNNING"
			if test.blocked {
				state = "PENDING"
			}
			tm.eventually("the run is "+state, func() bool { return len(tm.inPool(state)) == 1 })
			id := tm.inPool(state)[0]
			cmd.Process.Kill()
			cmd.Wait()
			s3.set(nil)
			tm.wantNoneUnderWay()
			if got := tm.look(id); got.States[len(got.States)-1] != "Crashed" || !strings.Contains(got.Message, "no sign of life") && !strings.Contains(got.Message, "is gone") {
				t.Errorf("states %q, message %q\n%s", got.States, got.Message, log)
			}
		})
	}
}

// A submitter that is let in no more cannot end its run: the next one to look does.
func TestLetInNoMore(t *testing.T) {
	tm, api, _ := newTeamInWeather(t)
	tm.becomeBrief()
	api.set(func(_ *http.Request, _ string, _ int) *fault {
		if api.count("POST flow_runs") > 0 && len(tm.inPool()) > 0 {
			return &fault{status: http.StatusUnauthorized, body: `{"exception_message": "Unauthorized"}`}
		}
		return nil
	})
	if out, errs, code := tm.try("submit-to-work-pool", "--pool", tm.pool, "--", "true"); code != exitUnavailable || !strings.Contains(errs, "401") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	ids := tm.inPool()
	if len(ids) != 1 {
		t.Fatalf("runs %q", ids)
	}
	api.set(nil)
	tm.wantNoneUnderWay()
	if got := tm.look(ids[0]); got.States[len(got.States)-1] != "Crashed" {
		t.Errorf("states %q", got.States)
	}
}
