package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Args are the arguments of a [Call] by the names of the parameters. Where a value is expected, a
// future may stand for what its flow will return, also within lists and maps.
type Args map[string]any

// Call binds a flow to its arguments. It has neither run nor asked anything yet; to run it is to
// wait for the runs of all futures among the arguments, and to hand over what they resulted in.
//
//	a, err := train.Submit(ctx, In{Dataset: "a"})
//	b, err := train.Submit(ctx, In{Dataset: "b"})
//	text, err := submit.Call(report, submit.Args{"A": a, "B": b}).Run(ctx)
//
// Arguments that do not fit, as far as this can be known beforehand, are refused before anything
// is waited for. When one of the runs does not succeed, that ends the waiting: the error names
// the parameter and is the *[RunError] of that run, and nothing is launched.
func Call[In, Out any](f *Flow[In, Out], args Args) *BoundCall[Out] {
	return &BoundCall[Out]{f.definition, f.binding, takeArguments(args)}
}

// BoundCall is a flow with its arguments, see [Call]. It can be run any number of times.
type BoundCall[Out any] struct {
	definition *definition
	binding    binding
	arguments  *arguments
}

// On returns the call bound to an infrastructure, as [Flow.On].
func (c *BoundCall[Out]) On(i Infrastructure) *BoundCall[Out] {
	return &BoundCall[Out]{c.definition, c.binding.on(i), c.arguments}
}

// With returns the call with other options, as [Flow.With].
func (c *BoundCall[Out]) With(o Options) *BoundCall[Out] {
	return &BoundCall[Out]{c.definition, c.binding.with(o), c.arguments}
}

// Run is [Flow.Run] with the arguments.
func (c *BoundCall[Out]) Run(ctx context.Context) (out Out, err error) {
	in, err := c.resolve(ctx)
	if err != nil {
		return out, c.definition.errorf(err)
	}
	return run[Out](ctx, c.definition, c.binding, in)
}

// Submit is [Flow.Submit] with the arguments. It waits for those that are futures.
func (c *BoundCall[Out]) Submit(ctx context.Context) (*Future[Out], error) {
	return c.send(ctx, submitter.Submit)
}

// SubmitToWorkPool is [Flow.SubmitToWorkPool] with the arguments. It waits for those that are
// futures.
func (c *BoundCall[Out]) SubmitToWorkPool(ctx context.Context) (*Future[Out], error) {
	return c.send(ctx, submitter.SubmitToWorkPool)
}

func (c *BoundCall[Out]) send(ctx context.Context, mode func(submitter, context.Context, Invocation) (*Run, error)) (*Future[Out], error) {
	in, err := c.resolve(ctx)
	if err != nil {
		return nil, c.definition.errorf(err)
	}
	return send[Out](ctx, c.definition, c.binding, in, mode)
}

// arguments are Args as JSON would have them, with the futures still in them.
type arguments struct {
	in     map[string]any
	inputs []awaited
	err    error
}

// awaited is a future among the arguments.
type awaited struct {
	parameter string
	future    AnyFuture
}

func takeArguments(args Args) *arguments {
	a := &arguments{in: map[string]any{}}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		value, err := unfold(reflect.ValueOf(args[name]), 0, func(f AnyFuture) any {
			a.inputs = append(a.inputs, awaited{name, f})
			return f
		})
		if a.in[name] = value; err != nil && a.err == nil {
			a.err = &InvalidError{fmt.Sprintf("parameter %q is not JSON: %v", name, err)}
		}
	}
	return a
}

// replaced returns the arguments with something in the place of each future.
func (a *arguments) replaced(replace func(AnyFuture) any) map[string]any {
	in := map[string]any{}
	for name, value := range a.in {
		in[name], _ = unfold(reflect.ValueOf(value), 0, replace) // it was unfolded before
	}
	return in
}

// resolve waits for the futures and puts what they resulted in in their place.
func (c *BoundCall[Out]) resolve(ctx context.Context) (map[string]any, error) {
	if err := c.definition.runnable(); err != nil {
		return nil, err
	}
	if c.arguments.err != nil {
		return nil, c.arguments.err
	}
	if err := fitParameters(c.arguments.replaced(sampleOf), c.definition.in); err != nil {
		return nil, err
	}
	results, err := await(ctx, c.arguments.inputs)
	if err != nil {
		return nil, err
	}
	return c.arguments.replaced(func(f AnyFuture) any { return results[f.ID()] }), nil
}

// await returns the results by the ids of the runs, or why there is one that has none.
func await(ctx context.Context, inputs []awaited) (map[string]json.RawMessage, error) {
	results := map[string]json.RawMessage{}
	futures, parameters := make([]AnyFuture, len(inputs)), map[string]string{}
	for i, input := range inputs {
		futures[i] = input.future
		if _, ok := parameters[input.future.ID()]; !ok {
			parameters[input.future.ID()] = input.parameter
		}
	}
	for f, err := range asCompleted(ctx, futures) {
		var result json.RawMessage
		if err == nil {
			result, err = f.result(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", parameters[f.ID()], err)
		}
		results[f.ID()] = result
	}
	return results, nil
}

// maxDepth is that of lists and maps in each other; encoding/json reads no more.
const maxDepth = 10000

// unfold turns a value into what JSON would make of it, but for the futures in it, which become
// what replace says.
func unfold(v reflect.Value, depth int, replace func(AnyFuture) any) (any, error) {
	if !v.IsValid() {
		return nil, nil
	}
	switch f := v.Interface().(type) {
	case AnyFuture:
		return replace(f), nil
	case json.Number, bool, string: // as they come from unfolding
		return f, nil
	}
	switch {
	case depth > maxDepth:
		return nil, errors.New("it is nested too deeply")
	case v.Kind() == reflect.Interface:
		return unfold(v.Elem(), depth, replace)
	case (v.Kind() == reflect.Array || v.Kind() == reflect.Slice && !v.IsNil()) && mayHoldFutures(v.Type()):
		list := make([]any, v.Len())
		for i := range list {
			var err error
			if list[i], err = unfold(v.Index(i), depth+1, replace); err != nil {
				return nil, err
			}
		}
		return list, nil
	case v.Kind() == reflect.Map && !v.IsNil() && v.Type().Key().Kind() == reflect.String && mayHoldFutures(v.Type()):
		object := map[string]any{}
		for name, value := range v.Seq2() {
			var err error
			if object[name.String()], err = unfold(value, depth+1, replace); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	text, err := encodeJSON(v.Interface())
	if err != nil {
		return nil, err
	}
	var value any
	err = decodeJSON(text, &value)
	return value, err
}

// mayHoldFutures reports whether a list or map has to be looked into.
func mayHoldFutures(t reflect.Type) bool {
	if t.Implements(reflect.TypeFor[json.Marshaler]()) {
		return false
	}
	e := t.Elem()
	return slices.Contains([]reflect.Kind{reflect.Interface, reflect.Slice, reflect.Array, reflect.Map}, e.Kind()) || e.Implements(reflect.TypeFor[AnyFuture]())
}

// sampleOf stands for what a future will result in: the zero value of its type has the shape of
// the others, unless that is null.
func sampleOf(f AnyFuture) any {
	s := sample{typ: f.resultType()}
	text, err := encodeJSON(reflect.Zero(s.typ).Interface())
	if err == nil {
		err = decodeJSON(text, &s.value)
	}
	if err != nil || s.value == nil {
		return anything{}
	}
	return s
}
