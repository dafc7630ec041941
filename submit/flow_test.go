package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
)

type trainIn struct {
	Dataset string `json:"dataset"`
	Epochs  int    `json:"epochs,omitempty"`
}

type trainOut struct {
	Accuracy float64 `json:"accuracy"`
}

func noTraining(context.Context, trainIn) (trainOut, error) { return trainOut{}, nil }

// described is what a submission of the flow would say.
func described(t *testing.T, f *Flow[trainIn, trainOut]) Invocation {
	t.Helper()
	s := f.binding.runs.(*shelf)
	future, err := f.Submit(t.Context(), trainIn{Dataset: "<a>"})
	if err != nil {
		t.Fatal(err)
	}
	return s.runs[future.ID()].inv
}

func TestOnAndWith(t *testing.T) {
	plain := known(NewFlow("train", noTraining), newShelf())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	base := Invocation{Runtime: "go", Checked: true, Entrypoint: ":train", Dir: here, Parameters: json.RawMessage(`{"dataset":"<a>"}`)}
	full := base
	full.WorkPool, full.Type, full.Dir, full.Include = "pool", "process", "/base", []string{"data/"}
	full.JobVariables = map[string]any{"env": map[string]any{"A": "1"}, "n": json.Number("2")}
	full.Launcher = &launch.Launcher{Execution: []string{"nice"}}
	full.Name, full.Tags, full.Retries, full.RetryDelay, full.Timeout = "name", []string{"x"}, 2, time.Second, time.Minute
	full.Version, full.Labels, full.Results = "v1", map[string]string{"team": "a"}, "s3://results"
	bound := plain.On(Infrastructure{
		WorkPool: "pool", Type: "process", Dir: "/base", IncludeFiles: []string{"data/"}, Launcher: &launch.Launcher{Execution: []string{"nice"}},
		JobVariables: map[string]any{"env": map[string]string{"A": "1"}, "n": 2},
	}).With(Options{
		Name: String("name"), Tags: []string{"x"}, Retries: Int(2), RetryDelay: Duration(time.Second), Timeout: Duration(time.Minute),
		Version: String("v1"), Labels: map[string]string{"team": "a"}, ResultStorage: String("s3://results"),
	})
	cleared := full
	cleared.Include, cleared.JobVariables, cleared.Launcher, cleared.Tags, cleared.Labels = []string{}, map[string]any{}, nil, []string{}, map[string]string{}
	cleared.Name, cleared.Version, cleared.Results, cleared.Retries, cleared.RetryDelay, cleared.Timeout = "", "", "", 0, 0, 0
	replaced := full
	replaced.JobVariables, replaced.Labels, replaced.Include, replaced.Tags = map[string]any{"b": "1"}, map[string]string{"b": "1"}, []string{"b"}, []string{"b"}

	for _, test := range []struct {
		name string
		flow *Flow[trainIn, trainOut]
		want Invocation
	}{
		{"bound", bound, full},
		{"nothing given", bound.On(Infrastructure{}).With(Options{}), full},
		{"given empty", bound.On(Infrastructure{JobVariables: map[string]any{}, IncludeFiles: []string{}, Launcher: &launch.Launcher{}}).
			With(Options{Name: String(""), Tags: []string{}, Retries: Int(0), RetryDelay: Duration(0), Timeout: Duration(0), Version: String(""), ResultStorage: String(""), Labels: map[string]string{}}), cleared},
		{"replaced, not merged", bound.On(Infrastructure{JobVariables: map[string]any{"b": "1"}, IncludeFiles: []string{"b"}}).
			With(Options{Tags: []string{"b"}, Labels: map[string]string{"b": "1"}}), replaced},
		{"replaced what cannot be", bound.On(Infrastructure{JobVariables: map[string]any{"f": func() {}}}).On(Infrastructure{JobVariables: full.JobVariables}), full},
		{"the original, after all", plain, base},
		{"the bound one, after all", bound, full},
	} {
		if diff := cmp.Diff(test.want, described(t, test.flow), cmpopts.IgnoreFields(Invocation{}, "Build", "Program", "Collected"), cmpopts.IgnoreUnexported(Invocation{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestBindingsAreCopies: what was handed over may be changed afterwards.
func TestBindingsAreCopies(t *testing.T) {
	env := map[string]any{"A": "1"}
	i := Infrastructure{JobVariables: map[string]any{"env": env}, IncludeFiles: []string{"a"}, Launcher: &launch.Launcher{Upload: []string{"a"}}}
	o := Options{Tags: []string{"a"}, Labels: map[string]string{"a": "a"}}
	f := known(NewFlow("train", noTraining), newShelf()).On(i).With(o)
	before := described(t, f)
	env["A"], i.IncludeFiles[0], i.Launcher.Upload[0], o.Tags[0], o.Labels["a"] = "2", "b", "b", "b", "b"
	if diff := cmp.Diff(before, described(t, f), cmpopts.IgnoreFields(Invocation{}, "Build", "Program", "Collected"), cmpopts.IgnoreUnexported(Invocation{})); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

func TestRefusedBeforeLaunch(t *testing.T) {
	s := newShelf()
	run := func(f *Flow[trainIn, trainOut]) func() error {
		return func() error {
			_, err := f.Run(t.Context(), trainIn{})
			return err
		}
	}
	train := known(NewFlow("train", noTraining), s)
	for _, test := range []struct {
		name string
		run  func() error
		want string
	}{
		{"not named in Main", run(NewFlow("train", noTraining)), `submit: flow "train": the program that runs it elsewhere would not know it: name it in submit.Main, first thing in main`},
		{"empty name", run(known(NewFlow("", noTraining), s)), `submit: flow "": its name is empty`},
		{"colon", run(known(NewFlow("a:b", noTraining), s)), `submit: flow "a:b": its name contains ':'`},
		{"Prefect's characters", run(known(NewFlow("a/b", noTraining), s)), `submit: flow "a/b": its name contains '/'`},
		{"control", run(known(NewFlow("a\nb", noTraining), s)), `submit: flow "a\nb": its name contains '\n'`},
		{"spaces", run(known(NewFlow("a ", noTraining), s)), `submit: flow "a ": its name begins or ends with a space`},
		{"not UTF-8", run(known(NewFlow("\xff", noTraining), s)), `submit: flow "\xff": its name is not UTF-8`},
		{"no function", run(known(NewFlow[trainIn, trainOut]("a", nil), s)), `submit: flow "a": it has no function`},
		{"no object", func() error {
			_, err := known(NewFlow("n", func(context.Context, int) (int, error) { return 0, nil }), s).Submit(t.Context(), 1)
			return err
		}, `submit: flow "n": its input is of type int: it must be a struct, or a map with string keys`},
		{"not JSON", func() error {
			_, err := known(NewFlow("n", func(context.Context, map[string]any) (int, error) { return 0, nil }), s).Submit(t.Context(), map[string]any{"c": make(chan int)})
			return err
		}, `submit: flow "n": the input is not JSON: json: unsupported type: chan int`},
		{"job variables", run(train.On(Infrastructure{JobVariables: map[string]any{"f": func() {}}})), `submit: flow "train": the job variables are not JSON: json: unsupported type: func()`},
		{"platform", run(train.On(Infrastructure{Platform: "linux"})), `submit: flow "train": platform "linux" is not of the form linux/amd64`},
	} {
		err := test.run()
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
		if _, ok := errors.AsType[*InvalidError](err); !ok {
			t.Errorf("%s: %#v is no *InvalidError", test.name, err)
		}
	}
	if len(s.order) > 0 {
		t.Errorf("%d runs", len(s.order))
	}
}

type nested struct {
	Rows  []row             `json:"rows"`
	Ages  map[string]int    `json:"ages"`
	When  *time.Time        `json:"when"`
	Any   any               `json:"any,omitempty"`
	Small int8              `json:"small,omitempty"`
	Ratio float64           `json:"ratio,omitzero"`
	Pair  [2]int            `json:"pair,omitzero"`
	Bytes []byte            `json:"bytes,omitempty"`
	Texts map[string]string `json:"texts,omitempty"`
	trainIn
	private int
	Skipped int `json:"-"`
}

type row struct {
	Count int `json:"count"`
}

func TestParameters(t *testing.T) {
	_ = nested{private: 1}.private
	whole := `"rows":[{"count":1}],"ages":{"a":1},"dataset":"a"`
	for _, test := range []struct {
		in         any // pointer
		parameters string
		want       string // error
	}{
		{new(trainIn), `{"dataset": "a", "epochs": 2}`, ""},
		{new(trainIn), `{"dataset": "a"}`, ""},
		{new(trainIn), `{}`, `missing parameter "dataset"`},
		{new(trainIn), `{"dataset": "a", "epochs": "few"}`, `parameter "epochs": want int, got "few"`},
		{new(trainIn), `{"dataset": null}`, `parameter "dataset": want string, got null`},
		{new(trainIn), `{"dataset": "a", "epochs": 1.5}`, `parameter "epochs": want int, got 1.5`},
		{new(trainIn), `{"dataset": "a", "epochs": 9223372036854775808}`, `parameter "epochs": want int, got 9223372036854775808`},
		{new(trainIn), `{"datast": "a"}`, `unknown parameter "datast", did you mean "dataset"?; missing parameter "dataset"`},
		{new(trainIn), `{"DATASET": "a"}`, `unknown parameter "DATASET", did you mean "dataset"?; missing parameter "dataset"`},
		{new(trainIn), `{"dataset": "a", "x": 1}`, `unknown parameter "x"`},
		{new(trainIn), `{"dataset": ` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, `parameter "dataset": want string, got ` + strings.Repeat("[", 20) + strings.Repeat("]", 20)},
		{new(trainIn), `{"dataset": [` + strings.Repeat("1,", 50) + `1]}`, `parameter "dataset": want string, got [` + strings.Repeat("1,", 29) + `1...`},
		{new(trainIn), `[]`, `the parameters are not a JSON object`},
		{new(trainIn), `{} {}`, `the parameters are not JSON: there is something after its end`},
		{new(trainIn), ``, `the parameters are not JSON: EOF`},
		{new(struct{}), `{}`, ""},
		{new(struct{}), `{"x": 1}`, `unknown parameter "x"`},
		{new(*trainIn), `{"dataset": "a"}`, ""},
		{new(map[string]any), `{"x": [1, null]}`, ""},
		{new(map[string]int), `{"x": "1"}`, `parameter "x": want int, got "1"`},
		{new(any), `{"x": 1}`, ""},
		{new(nested), `{` + whole + `}`, ""},
		{new(nested), `{` + whole + `, "when": "2020-01-01T00:00:00Z", "any": {"b": 1}, "small": -128, "ratio": 1, "pair": [1, 2], "bytes": "aGk="}`, ""},
		{new(nested), `{` + whole + `, "when": "today", "small": 128, "pair": [1], "bytes": "?", "texts": {"b": 1}}`,
			`parameter "bytes": want []uint8, got "?"; parameter "pair": want [2]int, got [1]; parameter "small": want int8, got 128; ` +
				`parameter "texts.b": want string, got 1; parameter "when": want time.Time, got "today"`},
		{new(nested), `{"rows":[{"count":1},{"count":"2"},{"cuont":3}],"ages":{"a":null},"dataset":"a"}`,
			`parameter "ages.a": want int, got null; parameter "rows[1].count": want int, got "2"; unknown parameter "rows[2].cuont", did you mean "count"?`},
		{new(nested), `{` + whole + `, "Skipped": 1, "private": 1}`, `unknown parameter "Skipped"; unknown parameter "private"`},
		{new(struct {
			N int `json:"n,string"`
		}), `{"n": "12"}`, ""},
		{new(struct {
			N int `json:"n,string"`
		}), `{"n": 12}`, `the parameters do not fit: json: invalid use of ,string struct tag, trying to unmarshal unquoted value into int`},
		{new(struct{ F func() }), `{"F": 1}`, `parameter "F": want func(), got 1`},
		{new(struct{ *row }), `{"count": 1}`, `the parameters do not fit: json: cannot set embedded pointer to unexported struct: submit.row`},
		{new(struct{ *row }), `{}`, ""},
	} {
		got := ""
		if err := decodeParameters(json.RawMessage(test.parameters), test.in); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%T %s\n got %s\nwant %s", test.in, test.parameters, got, test.want)
		}
	}
}

// TestFieldsAsJSON: the fields are those that encoding/json writes.
func TestFieldsAsJSON(t *testing.T) {
	type A struct{ X, Y, OnlyA int }
	type B struct {
		X, Z int
		W    int `json:"Y"`
	}
	type C struct{ *A }
	type D struct{ A }
	type E struct {
		A
		OnlyE int
	}
	for _, value := range []any{
		nested{}, struct {
			A
			B
			Z string
		}{}, struct {
			C `json:"c"`
			B
		}{}, struct {
			A `json:"-"`
			B
		}{}, struct {
			C
			OnlyA bool `json:"only"`
		}{C: C{&A{}}},
		struct {
			D
			E
		}{},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			want[name] = true
		}
		got := map[string]bool{}
		for name, f := range fieldsOf(reflect.TypeOf(value)) {
			if !f.optional || want[name] { // else it may be left out
				got[name] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T (-want +got):\n%s", value, diff)
		}
	}
}

func TestRunResults(t *testing.T) {
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	text, err := answered[string](t, `"a<b"`)
	check("string", text, err, "a<b")
	out, err := answered[trainOut](t, `{"accuracy": 0.5}`)
	check("struct", out, err, trainOut{0.5})
	none, err := answered[struct{}](t, `null`)
	check("null", none, err, struct{}{})
	nothing, err := answered[any](t, ``)
	check("nothing", nothing, err, nil)
	list, err := answered[[]int](t, `[1,2]`)
	check("list", list, err, []int{1, 2})
	if _, err := answered[int](t, `"x"`); err == nil || !strings.Contains(err.Error(), "cannot unmarshal") {
		t.Errorf("ill-typed: %v", err)
	}
}

// answered runs a flow that results in the text.
func answered[Out any](t *testing.T, result string) (Out, error) {
	s := newShelf()
	f := known(NewFlow("f", func(context.Context, struct{}) (out Out, err error) { return out, nil }), s)
	go func() {
		s.until(t, "there is a run", func() bool { return len(s.order) == 1 })
		s.complete(s.order[0], result)
	}()
	return f.Run(t.Context(), struct{}{})
}

func TestRunFails(t *testing.T) {
	s := newShelf()
	f := known(NewFlow("train", noTraining), s)
	go func() {
		s.until(t, "there is a run", func() bool { return len(s.order) == 1 })
		s.end(s.order[0], orchestrator.TypeFailed, "no such dataset", "")
	}()
	_, err := f.Run(t.Context(), trainIn{})
	var failed *RunError
	if !errors.As(err, &failed) || failed.Message != "no such dataset" || failed.State.Type != orchestrator.TypeFailed || failed.FlowRunID != s.order[0] {
		t.Errorf("%#v", err)
	}
	if want := fmt.Sprintf(`submit: flow "train": flow run %q ended Failed: no such dataset`, s.order[0]); err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}

	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	_, err = f.Run(ctx, trainIn{})
	if !errors.As(err, &failed) || failed.State.Type != orchestrator.TypeCancelled || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the deadline: %#v", err)
	}
}

func TestSourceDirectory(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	f := NewFlow("train", noTraining)
	if want := filepath.Dir(file); filepath.IsAbs(file) && f.dir != want {
		t.Errorf("%q, want %q", f.dir, want)
	}
	f.definition.dir = filepath.Join(t.TempDir(), "built elsewhere")
	if inv := described(t, known(f, newShelf())); inv.Dir != "" {
		t.Errorf("base directory %q", inv.Dir)
	}
}

// FuzzParameters: whatever is accepted decodes, and nothing panics.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{`{"dataset":"a"}`, `{"rows":[{"count":1}],"ages":{"a":1e3},"pair":[1,2]}`, `{"any":[[{}]],"when":null}`, `[`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, parameters string) {
		var in nested
		err := decodeParameters(json.RawMessage(parameters), &in)
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok || strings.Contains(err.Error(), "do not fit") {
				t.Errorf("%q: %v", parameters, err)
			}
			return
		}
		again, err := encodeJSON(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkParameters(again, reflect.TypeFor[nested]()); err != nil {
			t.Errorf("%q becomes %s: %v", parameters, again, err)
		}
	})
}

// What the command line warns of, a flow's logger does.
func TestWarnings(t *testing.T) {
	var out bytes.Buffer
	ctx := context.WithValue(t.Context(), loggerKey{}, slog.New(newLogHandler(&out)))
	s := newShelf()
	f := known(NewFlow("train", noTraining), s)
	future, err := f.Submit(ctx, trainIn{})
	if err != nil {
		t.Fatal(err)
	}
	files := &bundle.Collection{Warnings: []string{"Pattern 'x' matched no files"}, Notes: []string{"a circle"}}
	files.Excluded = []bundle.Excluded{{Path: "a.log", Rule: "*.log", Source: ".prefectignore:1", Explicit: true}, {Path: "b.log", Rule: "*.log"}}
	for i := range mostSensitive + 2 {
		files.Sensitive = append(files.Sensitive, bundle.Sensitive{Path: fmt.Sprintf("%d.pem", i), Rule: "*.pem"})
	}
	s.runs[future.ID()].inv.Collected(files)
	warnRun(ctx, &Run{ID: "1", Warnings: []error{errors.New("submit: no room")}})
	want := []string{"Pattern 'x' matched no files", "a file that a pattern names is left out path=a.log rule=*.log source=.prefectignore:1"}
	for i := range mostSensitive {
		want = append(want, fmt.Sprintf("a file that travels may hold secrets path=%d.pem rule=*.pem", i))
	}
	want = append(want, "more of the files that travel may hold secrets files=2", "a circle", "no room flow_run=1")
	var got []string
	for line := range strings.Lines(out.String()) {
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Level != 30 {
			t.Errorf("%s, %v", line, err)
		}
		got = append(got, l.Message)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
