package local_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// fill puts runs into the file, as many in each state: half of them in the work pool local.
func fill(tb testing.TB, o *local.Orchestrator, state string, n int) {
	tb.Helper()
	_, err := o.DB().ExecContext(context.Background(), `
		INSERT INTO flow (id, name, created) VALUES ('f', 'f', 0) ON CONFLICT DO NOTHING;
		CREATE TEMP TABLE made AS
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
			SELECT lower(hex(randomblob(16))) AS id, i FROM n;
		INSERT INTO flow_run (id, flow_id, name, work_pool, parameters, tags, bundle_url, bundle_key, digest, files_key, created,
				state_type, state_id, state_name, state_timestamp)
			SELECT id, 'f', 'run', iif(i % 2, 'local', 'other'), '{}', '[]', '', 'k', '', '', i, ?2, id, ?2, i FROM made;
		INSERT INTO state (id, flow_run_id, number, type, name, message, timestamp)
			SELECT id, id, 1, ?2, ?2, '', i FROM made;
		DROP TABLE made`, n, state)
	if err != nil {
		tb.Fatal(err)
	}
}

func benchOpen(b *testing.B) *local.Orchestrator {
	b.Helper()
	o, err := local.Open(b.Context(), filepath.Join(b.TempDir(), "db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { o.Close() })
	for _, name := range []string{"local", "other"} {
		if _, err := o.CreateWorkPool(b.Context(), orchestrator.NewWorkPool{Name: name, Type: "process"}); err != nil {
			b.Fatal(err)
		}
	}
	return o
}

func BenchmarkClaim(b *testing.B) {
	o := benchOpen(b)
	fill(b, o, "COMPLETED", 10_000)
	fill(b, o, "SCHEDULED", 2*b.N)
	runs, err := o.ScheduledFlowRuns(b.Context(), "local", time.Time{}, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for _, run := range runs {
		lease := orchestrator.NewLease("launcher", 0)
		out, err := o.SetState(b.Context(), run.ID, orchestrator.NewState(orchestrator.TypePending, ""), &orchestrator.SetStateOptions{Lease: &lease})
		if err != nil || out.Status != orchestrator.Accepted {
			b.Fatalf("%+v, %v", out, err)
		}
	}
	b.ReportMetric(float64(len(runs))/b.Elapsed().Seconds(), "claims/s")
}

func BenchmarkCreateFlowRun(b *testing.B) {
	o := benchOpen(b)
	for b.Loop() {
		lease := orchestrator.NewLease("submitter", 0)
		n := orchestrator.NewFlowRun{Flow: "f", WorkPool: "local", State: orchestrator.NewState(orchestrator.TypePending, ""), Lease: &lease}
		if _, err := o.CreateFlowRun(b.Context(), n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReading is what is asked over and over, with 100,000 runs in the file.
func BenchmarkReading(b *testing.B) {
	o := benchOpen(b)
	fill(b, o, "COMPLETED", 80_000)
	fill(b, o, "FAILED", 10_000)
	fill(b, o, "SCHEDULED", 10_000)
	fill(b, o, "PENDING", 100)
	// Somebody lives who looks after those.
	_, err := o.DB().Exec(`
		INSERT INTO lease (id, flow_run_id, holder, process, length, renewed)
		SELECT id, id, 'executor', ?, 3600000000, ? FROM flow_run WHERE under_way = 1`, o.Process(), time.Now().UnixMicro())
	if err != nil {
		b.Fatal(err)
	}
	var ids []string
	runs, err := o.FlowRuns(b.Context(), orchestrator.Filter{Limit: 50_000})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(runs); i += len(runs) / 100 {
		ids = append(ids, runs[i].ID)
	}
	lines := make([]orchestrator.Log, 1000)
	for i := range lines {
		lines[i] = orchestrator.Log{FlowRunID: ids[i%2], Level: 20, Message: "a line of some words, as programs write them", Timestamp: time.Now()}
	}
	for range 100 {
		if err := o.WriteLogs(b.Context(), lines); err != nil {
			b.Fatal(err)
		}
	}
	logs, err := o.Logs(b.Context(), orchestrator.LogFilter{FlowRunID: ids[0]})
	if err != nil {
		b.Fatal(err)
	}
	last := logs[len(logs)-1].Number
	states := func(types ...orchestrator.StateType) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := o.FlowRuns(ctx, orchestrator.Filter{States: types, Limit: 200})
			return err
		}
	}
	for _, bench := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"EndLost", func(ctx context.Context) error {
			if n, err := o.EndLost(ctx); err != nil || n != 0 {
				return fmt.Errorf("%d ended, %w", n, err)
			}
			return nil
		}},
		{"CurrentStates/1", func(ctx context.Context) error { _, err := o.CurrentStates(ctx, ids[:1]); return err }},
		{"CurrentStates/100", func(ctx context.Context) error { _, err := o.CurrentStates(ctx, ids); return err }},
		{"ScheduledFlowRuns", func(ctx context.Context) error {
			_, err := o.ScheduledFlowRuns(ctx, "local", time.Time{}, 10)
			return err
		}},
		{"WorkPool", func(ctx context.Context) error { _, err := o.WorkPool(ctx, "local"); return err }},
		{"FlowRun", func(ctx context.Context) error { _, err := o.FlowRun(ctx, ids[0]); return err }},
		{"FlowRuns", states()},
		{"FlowRuns/failed", states("FAILED")},
		{"FlowRuns/final", states("COMPLETED", "FAILED", "CRASHED", "CANCELLED")},
		{"FlowRuns/underway", states("PENDING", "RUNNING", "CANCELLING")},
		{"FlowRuns/pool", func(ctx context.Context) error {
			_, err := o.FlowRuns(ctx, orchestrator.Filter{WorkPool: "local", Limit: 200})
			return err
		}},
		{"FlowRuns/pool,pending", func(ctx context.Context) error {
			_, err := o.FlowRuns(ctx, orchestrator.Filter{WorkPool: "local", States: []orchestrator.StateType{"PENDING"}, Limit: 200})
			return err
		}},
		{"Logs/new", func(ctx context.Context) error {
			_, err := o.Logs(ctx, orchestrator.LogFilter{FlowRunID: ids[0], After: last})
			return err
		}},
		{"Logs/1000", func(ctx context.Context) error {
			_, err := o.Logs(ctx, orchestrator.LogFilter{FlowRunID: ids[0], Limit: 1000})
			return err
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if err := bench.do(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
