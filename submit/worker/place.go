package worker

import (
	"context"
	"slices"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Command is the command line that executes a run, without what an execution launcher puts in
// its place.
func Command(executor []string, run *orchestrator.FlowRun) []string {
	argv := slices.Concat(executor, []string{"execute", "--url", run.Bundle.URL, "--key", run.Bundle.Key, "--digest", run.Bundle.Digest})
	if run.Results != "" {
		argv = append(argv, "--result-url", run.Results)
	}
	return argv
}

// place finds out where the run is executed, and what its job needs there.
func (a *attempt) place(ctx context.Context) (err error) {
	if a.pool, err = a.Runs.WorkPool(ctx, a.Run.WorkPool); err != nil {
		return err
	}
	if a.infra, err = a.Infrastructure(a.pool.Type); err != nil {
		return err
	}
	var command []string
	switch {
	case a.Run.Bundle.Key != "":
		command = Command(a.Executor, a.Run)
	case a.pool.Type == "process":
		command = slices.Concat(a.Executor, []string{"deployment"})
	}
	if a.Elsewhere != nil {
		if a.elsewhere, err = a.Elsewhere(a.Run, a.pool.Type); err != nil {
			return err
		}
	}
	if a.elsewhere != nil {
		command = a.elsewhere.Command
	}
	a.argv = command
	a.configuration, err = a.configure(ctx, a.pool, command)
	return err
}
