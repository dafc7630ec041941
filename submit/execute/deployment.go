package execute

import (
	"context"
	"errors"
	"os"

	"github.com/flowship/flowship/bundle"
)

// RunDeployment runs the flow run of a Prefect deployment that the options name: in the current
// directory, whose files are what the deployment's pull steps make them. It looks after
// "python -m prefect.engine" as [RunForPrefect] looks after the flow of a bundle, and returns as
// that does.
func RunDeployment(ctx context.Context, opts *Options) (code int, err error) {
	x, err := newExecution("", bundle.Digest{}, opts)
	if err != nil {
		return ExitUnavailable, &PhaseError{PhaseRun, err}
	}
	defer os.RemoveAll(x.scratch)
	switch err = x.unlessStopped(ctx, x.prepareDeployment); {
	case errors.Is(err, errOverBefore):
		return 0, nil
	case err != nil:
		err = &PhaseError{PhaseRun, err}
		return exitCode(err), errors.Join(err, x.notStarted(ctx, err))
	}
	return x.handOver(ctx, "deployment", x.FlowRunID, "prefect.engine", x.FlowRunID)
}

func (x *execution) prepareDeployment(ctx context.Context) error {
	if err := x.cancelledBefore(ctx); err != nil {
		return err
	}
	return x.findInterpreter()
}
