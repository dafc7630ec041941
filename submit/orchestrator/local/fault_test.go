package local_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// Who finds the file locked for too long is told so; it can be read all the same.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	o, err := local.Open(t.Context(), path, &local.Options{BusyTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	makePool(t, o, "local")
	id, lease := createHeld(t, o)
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	writes := map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := o.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "f", State: state(orchestrator.TypeCompleted)})
			return err
		},
		"set state": func(ctx context.Context) error {
			_, err := o.SetState(ctx, id, state(orchestrator.TypeRunning), nil)
			return err
		},
		"renew": func(ctx context.Context) error { return o.Renew(ctx, lease) },
		"heartbeat": func(ctx context.Context) error {
			return o.Heartbeat(ctx, orchestrator.Worker{Name: "w", WorkPool: "local"})
		},
		"logs": func(ctx context.Context) error {
			return o.WriteLogs(ctx, []orchestrator.Log{{FlowRunID: id, Message: "m"}})
		},
	}
	for name, write := range writes {
		err := write(t.Context())
		if err == nil || !strings.Contains(err.Error(), "another process has kept the file locked for 20ms") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if run, err := o.FlowRun(t.Context(), id); err != nil || run.State.Type != orchestrator.TypePending {
		t.Errorf("%+v, %v", run, err)
	}
	endLost(t, o, 0)
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for name, write := range writes {
		if err := write(t.Context()); err != nil {
			t.Errorf("%s: error %v after the lock is gone", name, err)
		}
	}
}
