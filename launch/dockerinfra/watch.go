package dockerinfra

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// watch waits for the end of one container.
type watch struct {
	*record
	id       string
	patience time.Duration

	code *int64 // that the engine told when the container ended
}

// run returns how the container ended, as a [launch.WatchFunc] does.
func (w *watch) run(ctx context.Context) (exit *launch.Exit, err error, final bool) {
	defer func() {
		if final {
			w.take, w.logs = nil, nil // it is remembered, what it held need not be
		}
	}()
	var silent time.Time // since when the engine has not answered
	pause := launch.Pause{}
	if w.started {
		w.started = false
		w.running(ctx)
	}
	for {
		r, err := w.inspect(ctx)
		switch {
		case errdefs.IsNotFound(err):
			return w.removed()
		case ctx.Err() != nil:
			return nil, context.Cause(ctx), false
		case err != nil:
			now := time.Now()
			if silent.IsZero() {
				silent = now
			}
			if now.Sub(silent) >= w.patience {
				return nil, fmt.Errorf("its end is not known: %w", w.engine.fault(err)), false
			}
			pause.Wait(ctx)
			continue
		}
		silent = time.Time{}
		state := r.Container.State
		if state == nil {
			return nil, errors.New("the engine does not say in which state the container is"), false
		}
		switch {
		case state.Running || state.Restarting:
			if w.running(ctx) {
				pause = launch.Pause{}
			} else {
				pause.Wait(ctx)
			}
		case state.Status == container.StateCreated:
			return nil, errors.New("the container was never started"), false
		default:
			exit, err := w.ended(ctx, &r.Container)
			return exit, err, exit != nil
		}
	}
}

// inspect does not wait for an engine that takes the question and never answers.
func (w *watch) inspect(ctx context.Context) (client.ContainerInspectResult, error) {
	ctx, cancel := context.WithTimeout(ctx, max(settle, w.patience))
	defer cancel()
	return w.engine.api.ContainerInspect(ctx, w.id, client.ContainerInspectOptions{})
}

// flush is how long output may still come when the container has ended.
const flush = 10 * time.Second

// running follows a container that runs, and returns true when it has ended, false when the
// connection broke.
func (w *watch) running(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended, followed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(followed)
		w.follow(ctx, ended)
	}()
	wait := w.engine.api.ContainerWait(ctx, w.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	ok := false
	select { // the second one at the latest when ctx ends
	case r := <-wait.Result:
		w.code, ok = &r.StatusCode, true
		close(ended)
		late := time.AfterFunc(flush, cancel)
		<-followed
		late.Stop()
	case <-wait.Error:
	}
	cancel()
	<-followed
	return ok
}

// follow passes the output on while the container runs, through broken connections.
func (w *watch) follow(ctx context.Context, ended <-chan struct{}) {
	if w.logs == nil {
		return
	}
	pause := launch.Pause{}
	for ctx.Err() == nil {
		err := w.logs.read(ctx, w.engine, w.id, true, "")
		if errdefs.IsNotFound(err) {
			return
		}
		// The stream ends a moment before or after the container is known to have ended.
		select {
		case <-ended:
			if err == nil {
				return
			}
		case <-ctx.Done():
			return
		case <-time.After(pause.Next()):
		}
	}
}

// last is how many pieces of output are looked at once more when the container has ended.
const last = "1000"

// ended collects what the container leaves, and removes it unless it is to be kept.
func (w *watch) ended(ctx context.Context, c *container.InspectResponse) (*launch.Exit, error) {
	if w.logs != nil {
		tail := last
		if w.code == nil { // nobody followed it to its end
			tail = ""
		}
		if err := w.rest(ctx, tail); err != nil {
			return nil, err
		}
	}
	exit := &launch.Exit{Code: c.State.ExitCode, Reason: reason(c)}
	var errs []error
	errs = append(errs, w.engine.take(ctx, w.id, w.take))
	if !w.keep {
		w.logs.flush() // if this program is killed now, nobody can read it again
		errs = append(errs, w.engine.remove(ctx, w.id))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return exit, errors.Join(errs...)
}

// rest reads the output once more. A container that is removed meanwhile has none.
func (w *watch) rest(ctx context.Context, tail string) error {
	pause := launch.Pause{}
	for deadline := time.Now().Add(w.patience); ; pause.Wait(ctx) {
		err := w.logs.read(ctx, w.engine, w.id, false, tail)
		switch {
		case err == nil || errdefs.IsNotFound(err) || errdefs.IsConflict(err):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Now().After(deadline):
			return fmt.Errorf("its output is not complete: %w", w.engine.fault(err))
		}
	}
}

const wasRemoved = "the container was removed by somebody else"

// reason says what the engine knows about a bad end.
func reason(c *container.InspectResponse) string {
	memory := "memory ran out"
	if c.HostConfig != nil && c.HostConfig.Memory > 0 {
		memory = fmt.Sprintf("its memory limit of %s was reached", units.BytesSize(float64(c.HostConfig.Memory)))
	}
	switch {
	case c.State.ExitCode == 0:
		return ""
	case c.State.OOMKilled && c.State.ExitCode == 137:
		return "killed because " + memory
	case c.State.OOMKilled:
		return "one of its processes was killed because " + memory
	case c.State.Status == container.StateRemoving || c.State.Status == container.StateDead:
		return wasRemoved
	case c.State.Error != "":
		return c.State.Error
	}
	return ""
}

// removed is the end of a container that is not there any more.
func (w *watch) removed() (*launch.Exit, error, bool) {
	if w.code == nil {
		return nil, errors.New(wasRemoved + " before its end was known"), true
	}
	exit := &launch.Exit{Code: int(*w.code)}
	if exit.Code != 0 {
		exit.Reason = wasRemoved
	}
	if len(w.take) > 0 {
		return exit, errors.New(wasRemoved + " before its files were taken"), true
	}
	return exit, nil, true
}
