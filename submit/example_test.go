//go:build unix

package submit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/submit"
)

type In struct {
	Dataset string `json:"dataset"`
	Epochs  int    `json:"epochs,omitempty"`
}

type Out struct {
	Accuracy float64 `json:"accuracy"`
}

var train = submit.NewFlow("train", func(ctx context.Context, in In) (Out, error) {
	if in.Dataset == "" {
		return Out{}, errors.New("no dataset")
	}
	return Out{Accuracy: 1 - 1/float64(1+in.Epochs)}, nil
})

var report = submit.NewFlow("report", func(ctx context.Context, in struct{ A, B Out }) (string, error) {
	return fmt.Sprintf("%v and %v", in.A.Accuracy, in.B.Accuracy), nil
})

// In the examples a flow's runs are kept in a home of their own. Without a client, a flow takes
// that of the environment.
func exampleClient() (c *submit.Client, remove func()) {
	home, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	executor, err := submit.OwnExecutor(context.Background(), home)
	if err != nil {
		panic(err)
	}
	c, err = submit.OpenClient(context.Background(), &submit.ClientOptions{Home: filepath.Join(home, "home"), Executor: executor})
	if err != nil {
		panic(err)
	}
	return c, func() {
		c.Close()
		os.RemoveAll(home)
	}
}

// The program's main begins with submit.Main(train).
func ExampleFlow_Run() {
	client, remove := exampleClient()
	defer remove()
	remote := train.On(submit.Infrastructure{Client: client})

	out, err := remote.Run(context.Background(), In{Dataset: "a", Epochs: 3})
	fmt.Println(out.Accuracy, err)

	_, err = remote.Run(context.Background(), In{})
	if failed, ok := errors.AsType[*submit.RunError](err); ok {
		fmt.Println(failed.State.Name, failed.Message)
	}
	// Output:
	// 0.75 <nil>
	// Failed no dataset
}

// The program's main begins with submit.Main(train, report).
func ExampleCall() {
	client, remove := exampleClient()
	defer remove()
	ctx := context.Background()
	here := submit.Infrastructure{Client: client}

	a, err := train.On(here).Submit(ctx, In{Dataset: "a", Epochs: 1})
	if err != nil {
		panic(err)
	}
	b, err := train.On(here).Submit(ctx, In{Dataset: "b", Epochs: 3})
	if err != nil {
		panic(err)
	}
	text, err := submit.Call(report, submit.Args{"A": a, "B": b}).On(here).Run(ctx)
	fmt.Println(text, err)

	_, err = submit.Call(report, submit.Args{"A": a, "b": b}).On(here).Run(ctx)
	fmt.Println(err)
	// Output:
	// 0.5 and 0.75 <nil>
	// submit: flow "report": unknown parameter "b", did you mean "B"?; missing parameter "B"
}

// The program's main begins with submit.Main(train).
func ExampleAsCompleted() {
	client, remove := exampleClient()
	defer remove()
	ctx := context.Background()
	f, err := train.On(submit.Infrastructure{Client: client}).Submit(ctx, In{Dataset: "a", Epochs: 1})
	if err != nil {
		panic(err)
	}
	same, err := submit.AttachWith[Out](client, f.ID())
	if err != nil {
		panic(err)
	}
	for done, err := range submit.AsCompleted(ctx, f, same) { // the same run counts once
		fmt.Println(done.ID() == f.ID(), err)
	}
	state, err := f.State(ctx)
	fmt.Println(state.Name, err)
	// Output:
	// true <nil>
	// Completed <nil>
}
