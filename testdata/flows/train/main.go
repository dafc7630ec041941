// Train is the example of package submit: flows that train and report, run in all three ways.
//
// It waits for a run in the work pool "local", so it needs a worker there:
//
//	flowship worker start --pool local &
//	go run ./testdata/flows/train
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/flowship/flowship/submit"
)

type In struct {
	Dataset string `json:"dataset"`
	Epochs  int    `json:"epochs,omitempty"`
}
type Out struct {
	Accuracy float64 `json:"accuracy"`
}

// A flow is a named function. Names are what the remote side, the backend and the CLI (./dir:train) know it by.
var train = submit.NewFlow("train", func(ctx context.Context, in In) (Out, error) {
	submit.Logger(ctx).Info("training", "dataset", in.Dataset) // a slog.Logger whose records become the run's logs
	cfg, err := os.ReadFile("config.yaml")                     // an included file, relative to the working directory
	if err != nil {
		return Out{}, err
	}
	return Out{Accuracy: float64(len(cfg))}, nil
})

var report = submit.NewFlow("report", func(ctx context.Context, in struct{ A, B Out }) (string, error) {
	return fmt.Sprintf("%v %v", in.A.Accuracy, in.B.Accuracy), nil
})

func main() {
	submit.Main(train, report) // on the remote side runs the asked flow and exits; otherwise returns at once
	ctx := context.Background()

	// What a decorator is in Python: binding to infrastructure returns a new flow, the original is untouched.
	remote := train.On(submit.Infrastructure{
		WorkPool:     "local",
		IncludeFiles: []string{"config.yaml", "data/", "!data/tmp/"}, // relative to the directory of the program's source, or Dir
		JobVariables: map[string]any{"env": map[string]any{"MODE": "fast"}},
	})

	out, err := remote.Run(ctx, In{Dataset: "a"}) // direct call
	if err != nil {
		log.Fatal(err)
	}

	a, _ := remote.Submit(ctx, In{Dataset: "a"})                                                        // launched from here
	b, _ := remote.With(submit.Options{Retries: submit.Int(2)}).SubmitToWorkPool(ctx, In{Dataset: "b"}) // for a worker
	for f, err := range submit.AsCompleted(ctx, a, b) {                                                 // each once, in order of completion; ends with ctx's error at the deadline
		fmt.Println(f.ID(), err)
	}
	done, pending := submit.Wait(ctx, a, b)
	fmt.Println(len(done), len(pending), out)

	ra, err := a.Result(ctx) // Out, or *submit.RunError with State, Message and the remote error's text
	st, _ := b.State(ctx)    // never blocks on the run
	fmt.Println(ra, err, st.Type, st.Name)
	_ = b.Cancel(ctx)

	later, _ := submit.Attach[Out](a.ID()) // from another process
	_, _ = later.Wait(ctx)
	time.Sleep(0)
}
