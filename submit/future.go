package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// State is a state of a flow run.
type State = orchestrator.State

const completed = orchestrator.TypeCompleted

// submitter is what flows and futures need of a [Client].
type submitter interface {
	Run(ctx context.Context, inv Invocation) (*Run, error)
	Submit(ctx context.Context, inv Invocation) (*Run, error)
	SubmitToWorkPool(ctx context.Context, inv Invocation) (*Run, error)
	State(ctx context.Context, id string) (State, error)
	Wait(ctx context.Context, id string) (State, error)
	Cancel(ctx context.Context, ref string) (State, error)
	StoredResult(ctx context.Context, ref string) (json.RawMessage, error)
}

// Future is a flow run whose flow returns a T. It knows no more than the run's id, so that any
// number of them, in any number of processes, may stand for the same run: see [Attach]. A Future
// is safe for concurrent use.
//
// When a method's ctx ends, the error is that of ctx, and the run goes on. Once a Future knows how
// the run ended it asks no more: of one that is then run again, [Client.Retry], another one tells.
type Future[T any] struct {
	id   string
	runs submitter

	mu        sync.Mutex
	final     *State        // nil before it is known
	callbacks []func(State) // to be called when it is
}

// AnyFuture is a *[Future], whatever its flow returns.
type AnyFuture interface {
	ID() string
	State(ctx context.Context) (State, error)
	Wait(ctx context.Context) (State, error)
	Cancel(ctx context.Context) error
	OnDone(callback func(State))
	resultType() reflect.Type
	ask(ctx context.Context, what question) (State, error)
	result(ctx context.Context) (json.RawMessage, error)
}

// question is what a submitter can be asked about a run's state.
type question func(s submitter, ctx context.Context, id string) (State, error)

func newFuture[T any](s submitter, id string) *Future[T] { return &Future[T]{id: id, runs: s} }

// Attach returns the future of a flow run that was submitted from anywhere in the environment's
// backend. Whether there is such a run turns out when the future is asked.
func Attach[T any](id string) (*Future[T], error) {
	return AttachWith[T](nil, id)
}

// AttachWith is [Attach] with the client's backend; nil is the environment's.
func AttachWith[T any](c *Client, id string) (*Future[T], error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", &InvalidError{fmt.Sprintf("%q is not the id of a flow run", id)})
	}
	if c == nil {
		if c, err = here.client(context.Background()); err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
	}
	return newFuture[T](c, parsed.String()), nil
}

// RunError: a flow run ended without success.
type RunError struct {
	FlowRunID string
	State     State  // how it ended
	Message   string // why: the text of the error that the flow returned, or what else ended it

	cause error // the end of the context that had it cancelled, a *[LaunchError], or nil
}

func (e *RunError) Error() string {
	s := fmt.Sprintf("flow run %q ended %s", e.FlowRunID, e.State.Name)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

func (e *RunError) Unwrap() error { return e.cause }

var errNoFuture = errors.New("there is no flow run: it was not submitted")

// ID is the id of the flow run, a UUID.
func (f *Future[T]) ID() string {
	if f == nil {
		return ""
	}
	return f.id
}

// MarshalJSON fails: what is in a struct or in a flow's result is not waited for.
func (f *Future[T]) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a future is not a value: Call waits for one that is an argument, or in a list or map")
}

// Equal reports whether both are of the same flow run.
func (f *Future[T]) Equal(other AnyFuture) bool { return other != nil && f.ID() == other.ID() }

// State returns the run's state at this moment. It never waits for the run.
func (f *Future[T]) State(ctx context.Context) (State, error) {
	state, err := f.ask(ctx, submitter.State)
	return state, ours(err)
}

// Wait returns the run's final state. That the run did not succeed is no error.
func (f *Future[T]) Wait(ctx context.Context) (State, error) {
	state, err := f.ask(ctx, submitter.Wait)
	return state, ours(err)
}

// ours says where an error comes from.
func ours(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("submit: %w", bare(err))
}

// bare is an error without the word that a [Client]'s begin with: it is to be said once.
func bare(err error) error {
	if strings.HasPrefix(err.Error(), prefix) {
		return &bareError{err}
	}
	return err
}

const prefix = "submit: "

type bareError struct{ err error }

func (e *bareError) Error() string { return strings.TrimPrefix(e.err.Error(), prefix) }
func (e *bareError) Unwrap() error { return e.err }

func (f *Future[T]) ask(ctx context.Context, what question) (State, error) {
	if f == nil {
		return State{}, errNoFuture
	}
	if final := f.knownFinal(); final != nil {
		return *final, nil
	}
	state, err := what(f.runs, ctx, f.id)
	if err != nil {
		return State{}, f.errorf(ctx, err)
	}
	if state.Type.Final() {
		f.mu.Lock()
		f.final = &state
		f.mu.Unlock()
	}
	return state, nil
}

// errorf names the run. What says why a context ended does not say that it was the context.
func (f *Future[T]) errorf(ctx context.Context, err error) error {
	err = bare(err)
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	named := fmt.Sprintf("flow run %q: ", f.id)
	if strings.HasPrefix(err.Error(), named) {
		return err
	}
	return fmt.Errorf("%s%w", named, err)
}

// Result waits for the run and returns what the flow returned, or a *[RunError]. Of a flow that
// Prefect ran and that did not store what it returned, it is [ErrNotPersisted].
func (f *Future[T]) Result(ctx context.Context) (T, error) {
	var value T
	text, err := f.result(ctx)
	if err != nil {
		return value, ours(err)
	}
	if err := decodeResult(text, &value); err != nil {
		return value, fmt.Errorf("submit: result of flow run %q: %w", f.id, err)
	}
	return value, nil
}

func (f *Future[T]) result(ctx context.Context) (json.RawMessage, error) {
	state, err := f.ask(ctx, submitter.Wait)
	if err != nil {
		return nil, err
	}
	if state.Type != completed {
		return nil, &RunError{FlowRunID: f.id, State: state, Message: state.Message}
	}
	text, err := f.runs.StoredResult(ctx, f.id)
	if err != nil {
		return nil, f.errorf(ctx, err)
	}
	return text, nil
}

// Cancel has the run cancelled. It does not wait until it is; a run that has ended stays as it
// ended, and that is no error.
func (f *Future[T]) Cancel(ctx context.Context) error {
	if f == nil {
		return ours(errNoFuture)
	}
	if f.knownFinal() != nil {
		return nil
	}
	_, err := f.runs.Cancel(ctx, f.id)
	if _, ended := errors.AsType[*EndedError](err); err == nil || ended {
		return nil
	}
	return ours(f.errorf(ctx, err))
}

// OnDone has the callback called once with the run's final state: at once if that is known
// already, else when the run has ended, in the order in which the callbacks were given and from
// one goroutine of the future's. A run that is deleted before it has ended has no final state, and
// nothing is heard of one whose client is closed.
func (f *Future[T]) OnDone(callback func(State)) {
	if f == nil || callback == nil {
		return
	}
	f.mu.Lock()
	if final := f.final; final != nil && len(f.callbacks) == 0 {
		f.mu.Unlock()
		callback(*final)
		return
	}
	f.callbacks = append(f.callbacks, callback)
	first := len(f.callbacks) == 1
	f.mu.Unlock()
	if first {
		go f.callBack()
	}
}

// callBack waits for the end and calls the callbacks. The first stays in the list until all are
// called: as long as the list is not empty, this goroutine is there.
func (f *Future[T]) callBack() {
	final, err := f.outlast()
	if err != nil {
		f.mu.Lock()
		f.callbacks = nil
		f.mu.Unlock()
		return
	}
	for called := 0; ; called++ {
		f.mu.Lock()
		if called == len(f.callbacks) {
			f.callbacks = nil
			f.mu.Unlock()
			return
		}
		callback := f.callbacks[called]
		f.mu.Unlock()
		callback(final)
	}
}

// A backend that does not answer is asked so often, and after such a while, before it counts as
// gone for good.
const (
	patience     = 10
	recoveryTime = time.Second
)

// outlast waits for the final state, also if the backend is away for a while.
func (f *Future[T]) outlast() (State, error) {
	ctx := context.Background()
	for failures := 1; ; failures++ {
		state, err := f.ask(ctx, submitter.Wait)
		if err == nil || failures == patience || errors.Is(err, orchestrator.ErrNotFound) || errors.Is(err, errClosed) {
			return state, err
		}
		time.Sleep(time.Duration(failures) * recoveryTime)
	}
}

func (f *Future[T]) knownFinal() *State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.final
}

func (f *Future[T]) resultType() reflect.Type { return reflect.TypeFor[T]() }
