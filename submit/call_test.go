package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
)

type reportIn struct {
	A, B  trainOut
	Title string `json:"title,omitempty"`
}

func newReport(s *shelf) *Flow[reportIn, string] {
	return known(NewFlow("report", func(context.Context, reportIn) (string, error) { return "", nil }), s)
}

func TestCall(t *testing.T) {
	s := newShelf()
	a, b := submitted[trainOut](t, s), submitted[trainOut](t, s)
	s.complete(a.ID(), `{"accuracy": 1}`)
	go func() {
		s.untilWaiting(t, 1)
		s.complete(b.ID(), `{"accuracy": 2}`)
	}()
	call := Call(newReport(s), Args{"A": a, "B": b, "title": "<t>"})
	future, err := call.With(Options{Retries: Int(1)}).On(Infrastructure{WorkPool: "p"}).SubmitToWorkPool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := s.runs[future.ID()]
	if want := `{"A":{"accuracy":1},"B":{"accuracy":2},"title":"<t>"}`; string(run.inv.Parameters) != want || run.mode != "queue" || run.inv.Retries != 1 || run.inv.WorkPool != "p" {
		t.Errorf("%s: %+v", run.mode, run.inv)
	}
	if future, err = call.Submit(t.Context()); err != nil || s.runs[future.ID()].mode != "submit" || s.runs[future.ID()].inv.WorkPool != "" {
		t.Errorf("%v, %v", future, err)
	}
	s.complete(future.ID(), `"text"`)
	go func() {
		s.until(t, "it is called", func() bool { return len(s.order) == 5 })
		s.complete(s.order[4], `"text"`)
	}()
	if text, err := call.Run(t.Context()); err != nil || text != "text" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestCallNested(t *testing.T) {
	s := newShelf()
	a, b := submitted[int](t, s), submitted[[]string](t, s)
	s.complete(a.ID(), `12345678901234567`)
	s.complete(b.ID(), `["x"]`)
	f := known(NewFlow("f", func(context.Context, map[string]any) (int, error) { return 0, nil }), s)
	args := Args{
		"list": []any{1, a, []AnyFuture{b}, nil}, "map": map[string]any{"a": a, "b": map[string]*Future[[]string]{"b": b}},
		"plain": struct{ A []int }{[]int{1}}, "typed": []*Future[int]{a, a}, "none": []any(nil),
		"array": [2]any{a, "x"},
	}
	call := Call(f, args)
	delete(args, "list")
	future, err := call.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"array":[12345678901234567,"x"],"list":[1,12345678901234567,[["x"]],null],"map":{"a":12345678901234567,"b":{"b":["x"]}},"none":null,"plain":{"A":[1]},"typed":[12345678901234567,12345678901234567]}`
	if diff := cmp.Diff(want, string(s.runs[future.ID()].inv.Parameters)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// picky is a type whose zero value does not survive JSON.
type picky string

func (p *picky) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("empty")
	}
	*p = picky(text)
	return nil
}

func TestCallRefused(t *testing.T) {
	s := newShelf()
	a, number, text, unknown, choosy := submitted[trainOut](t, s), submitted[int](t, s), submitted[string](t, s), submitted[any](t, s), submitted[picky](t, s)
	before := len(s.order)
	report := newReport(s)
	itself := []any{nil}
	itself[0] = itself
	for _, test := range []struct {
		call *BoundCall[string]
		want string
	}{
		{Call(report, Args{"A": a}), `missing parameter "B"`},
		{Call(report, nil), `missing parameter "A"; missing parameter "B"`},
		{Call(report, Args{"A": a, "B": a, "titel": 1}), `unknown parameter "titel", did you mean "title"?`},
		{Call(report, Args{"A": a, "B": 1}), `parameter "B": want submit.trainOut, got 1`},
		{Call(report, Args{"A": a, "B": number}), `parameter "B": want submit.trainOut, got a flow run that results in int`},
		{Call(report, Args{"A": text, "B": unknown, "title": number}), `parameter "A": want submit.trainOut, got a flow run that results in string; parameter "title": want string, got a flow run that results in int`},
		{Call(report, Args{"A": a, "B": unknown, "title": []any{text}}), `parameter "title": want string, got an object or a list`},
		{Call(report, Args{"A": map[string]any{"accuracy": text}, "B": a}), `parameter "A.accuracy": want float64, got a flow run that results in string`},
		{Call(report, Args{"A": a, "B": make(chan int)}), `parameter "B" is not JSON: json: unsupported type: chan int`},
		{Call(report, Args{"A": a, "B": struct{ F any }{a}}), `parameter "B" is not JSON: json: error calling MarshalJSON for type *submit.Future[github.com/flowship/flowship/submit.trainOut]: ` +
			`a future is not a value: Call waits for one that is an argument, or in a list or map`},
		{Call(report, Args{"A": a, "B": itself}), `parameter "B" is not JSON: it is nested too deeply`},
	} {
		_, err := test.call.Submit(t.Context())
		if want := `submit: flow "report": ` + test.want; err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if len(s.order) > before {
		t.Errorf("%d runs", len(s.order)-before)
	}

	// What may fit is waited for.
	perhaps := submitted[struct{ N *int }](t, s)
	s.complete(perhaps.ID(), `{"N": 1}`)
	sure := known(NewFlow("f", func(context.Context, struct{ P struct{ N int } }) (int, error) { return 0, nil }), s)
	if _, err := Call(sure, Args{"P": perhaps}).Submit(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	chosen := known(NewFlow("f", func(context.Context, struct{ P *picky }) (int, error) { return 0, nil }), s)
	_, err := Call(chosen, Args{"P": choosy}).Submit(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != `submit: flow "f": parameter "P": 1 (of 1) futures unfinished: context deadline exceeded` {
		t.Error(err)
	}
	s.complete(unknown.ID(), `[]`)
	s.complete(a.ID(), `{"accuracy": 1}`)
	if _, err := Call(report, Args{"A": a, "B": unknown}).Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), `parameter "B": want submit.trainOut, got []`) {
		t.Error(err)
	}
}

func TestCallOfFailed(t *testing.T) {
	s := newShelf()
	slow, bad := submitted[trainOut](t, s), submitted[trainOut](t, s)
	go func() {
		s.untilWaiting(t, 2)
		s.end(bad.ID(), orchestrator.TypeFailed, "no data", "")
	}()
	_, err := Call(newReport(s), Args{"A": slow, "B": bad}).Submit(t.Context())
	failed, ok := errors.AsType[*RunError](err)
	if !ok || failed.FlowRunID != bad.ID() || failed.Message != "no data" {
		t.Fatalf("%#v", err)
	}
	if want := fmt.Sprintf(`submit: flow "report": parameter "B": flow run %q ended Failed: no data`, bad.ID()); err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if len(s.order) != 2 {
		t.Errorf("%d runs", len(s.order))
	}
	s.untilWaiting(t, 0)

	var none *Future[trainOut]
	if _, err := Call(newReport(s), Args{"A": none, "B": none}).Submit(t.Context()); !errors.Is(err, errNoFuture) || !strings.Contains(err.Error(), `parameter "A"`) {
		t.Error(err)
	}
}
