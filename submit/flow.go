package submit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// Flow is a named function of a Go program whose runs may take place elsewhere.
//
//	var train = submit.NewFlow("train", func(ctx context.Context, in In) (Out, error) { … })
//
//	func main() {
//		submit.Main(train) // where a flow is asked for, this runs it and does not return
//		remote := train.On(submit.Infrastructure{WorkPool: "local", IncludeFiles: []string{"data/"}})
//		out, err := remote.Run(ctx, In{Dataset: "a"})
//	}
//
// What runs elsewhere is this program itself: its executable travels with the bundle, once for
// each of its contents. In and Out travel as JSON. In is a struct, or a map with string keys;
// its members are the flow's parameters, by their JSON names. A parameter may be left out by who
// calls the flow from the command line if its field is a pointer, or has omitempty or omitzero.
// Without parameters, In is struct{}; without a result, so is Out. As encoding/json has it, a
// number in an any is a float64, and what is not UTF-8 in a string is replaced.
//
// [Flow.On] and [Flow.With] return another flow and leave this one as it is. A Flow is safe for
// concurrent use.
type Flow[In, Out any] struct {
	*definition
	binding binding
}

// AnyFlow is a *[Flow], whatever its types.
type AnyFlow interface {
	// Name is the flow's name.
	Name() string
	defined() *definition
}

// definition is what all flows derived from one share.
type definition struct {
	name string
	err  error  // why it can never be run
	dir  string // of the source that defines it; "" if that is not here
	site string // file:line of the definition
	in   reflect.Type
	call func(ctx context.Context, parameters json.RawMessage) (any, error)
	main atomic.Pointer[string] // the source file that calls Main with it; nil before
}

// NewFlow makes a flow of a function. Its name is what the remote side, the backend and the
// command line know it by; as in Prefect it must not hold any of "/%&<>", and neither a colon
// nor a control character. A flow that can never be run, because of its name or its input, says
// so when it is to be run.
func NewFlow[In, Out any](name string, function func(ctx context.Context, in In) (Out, error)) *Flow[In, Out] {
	d := &definition{name: name, in: reflect.TypeFor[In]()}
	if _, file, line, ok := runtime.Caller(1); ok {
		d.site = fmt.Sprintf("%s:%d", file, line)
		if filepath.IsAbs(file) {
			d.dir = filepath.Dir(file)
		}
	}
	d.err = checkFlowName(name)
	if d.err == nil {
		d.err = checkInputType(d.in)
	}
	if d.err == nil && function == nil {
		d.err = &InvalidError{"it has no function"}
	}
	d.call = func(ctx context.Context, parameters json.RawMessage) (any, error) {
		var in In
		if err := decodeParameters(parameters, &in); err != nil {
			return nil, err
		}
		return function(ctx, in)
	}
	return &Flow[In, Out]{definition: d}
}

// Name is the flow's name.
func (d *definition) Name() string { return d.name }

func (d *definition) defined() *definition { return d }

// checkFlowName: what Prefect refuses, and what an entrypoint could not hold.
func checkFlowName(name string) error {
	switch {
	case name == "":
		return &InvalidError{"its name is empty"}
	case !utf8.ValidString(name):
		return &InvalidError{"its name is not UTF-8"}
	case strings.TrimSpace(name) != name:
		return &InvalidError{"its name begins or ends with a space"}
	}
	for _, r := range name {
		if strings.ContainsRune("/%&<>:", r) || unicode.IsControl(r) {
			return &InvalidError{fmt.Sprintf("its name contains %q", r)}
		}
	}
	return nil
}

// On returns the flow bound to an infrastructure.
func (f *Flow[In, Out]) On(i Infrastructure) *Flow[In, Out] {
	return &Flow[In, Out]{f.definition, f.binding.on(i)}
}

// With returns the flow with other options.
func (f *Flow[In, Out]) With(o Options) *Flow[In, Out] {
	return &Flow[In, Out]{f.definition, f.binding.with(o)}
}

// Run calls the flow where it is bound to and returns what it returned: a direct call, launched
// from here and waited for. What the flow prints and logs goes to this program's stderr. Warnings
// about the files that travel, here as for the other two, go to the [Logger] of ctx.
//
// A run that ended without success is a *[RunError]. When ctx ends, the run is cancelled, and
// the error is also that of ctx. Input that does not fit the flow is an *[InvalidError], and
// nothing was launched.
func (f *Flow[In, Out]) Run(ctx context.Context, in In) (Out, error) {
	return run[Out](ctx, f.definition, f.binding, in)
}

// Submit launches a run of the flow from here and does not wait for its end. The run goes on
// when this program ends.
func (f *Flow[In, Out]) Submit(ctx context.Context, in In) (*Future[Out], error) {
	return send[Out](ctx, f.definition, f.binding, in, submitter.Submit)
}

// SubmitToWorkPool queues a run of the flow for a worker of the work pool.
func (f *Flow[In, Out]) SubmitToWorkPool(ctx context.Context, in In) (*Future[Out], error) {
	return send[Out](ctx, f.definition, f.binding, in, submitter.SubmitToWorkPool)
}

// prepare is all that comes before anything is stored: the backend and the description of a run.
func prepare(ctx context.Context, d *definition, b binding, in any) (submitter, Invocation, error) {
	parameters, err := d.parameters(in)
	if err == nil {
		err = b.err
	}
	if err != nil {
		return nil, Invocation{}, err
	}
	inv, err := b.invocation(ctx, d, parameters)
	if err != nil {
		return nil, inv, err
	}
	switch {
	case b.runs != nil:
		return b.runs, inv, nil
	case b.infra.Client != nil:
		return b.infra.Client, inv, nil
	}
	client, err := here.client(ctx)
	return client, inv, err
}

// runnable says why the flow cannot be run by this program.
func (d *definition) runnable() error {
	if d.err == nil && d.main.Load() == nil {
		return &InvalidError{"the program that runs it elsewhere would not know it: name it in submit.Main, first thing in main"}
	}
	return d.err
}

// parameters are the input as JSON, if it fits.
func (d *definition) parameters(in any) (json.RawMessage, error) {
	if err := d.runnable(); err != nil {
		return nil, err
	}
	parameters, err := encodeJSON(in)
	if err != nil {
		return nil, &InvalidError{fmt.Sprintf("the input is not JSON: %v", err)}
	}
	if string(parameters) == "null" {
		parameters = json.RawMessage("{}")
	}
	return parameters, d.fit(parameters)
}

// fit says why parameters are not the flow's input. They are decoded for it: a type may have its
// own idea of JSON.
func (d *definition) fit(parameters json.RawMessage) error {
	return decodeParameters(parameters, reflect.New(d.in).Interface())
}

func run[Out any](ctx context.Context, d *definition, b binding, in any) (out Out, err error) {
	client, inv, err := prepare(ctx, d, b, in)
	if err != nil {
		return out, d.errorf(err)
	}
	inv.Stdout, inv.Stderr = os.Stderr, os.Stderr
	r, err := client.Run(ctx, inv)
	ended := r != nil && r.State.Type.Final()
	if ended {
		warnRun(ctx, r)
	}
	switch {
	case ended && r.State.Type != completed:
		return out, d.errorf(&RunError{FlowRunID: r.ID, State: r.State, Message: r.State.Message, cause: cmp.Or(ctx.Err(), err)})
	case err != nil:
		return out, d.errorf(err)
	}
	if err := decodeResult(r.Result, &out); err != nil {
		return out, d.errorf(fmt.Errorf("result of flow run %q: %w", r.ID, err))
	}
	return out, nil
}

func send[Out any](ctx context.Context, d *definition, b binding, in any, mode func(submitter, context.Context, Invocation) (*Run, error)) (*Future[Out], error) {
	client, inv, err := prepare(ctx, d, b, in)
	if err != nil {
		return nil, d.errorf(err)
	}
	r, err := mode(client, ctx, inv)
	if err != nil {
		return nil, d.errorf(err)
	}
	warnRun(ctx, r)
	return newFuture[Out](client, r.ID), nil
}

func (d *definition) errorf(err error) error {
	return fmt.Errorf("submit: flow %q: %w", d.name, bare(err))
}
