// Package submit packs an invocation, stores its bundle, has it run and says what became of it.
//
//	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Executor: []string{"/usr/bin/flowship", "step"}})
//	defer c.Close()
//	run, err := c.Run(ctx, submit.Invocation{
//		Dir:     "flows/wordcount",
//		Include: []string{"count.sh", "texts/"},
//		Command: []string{"sh", "count.sh"},
//		Stdout:  os.Stdout,
//	})
//	fmt.Println(run.State.Name, string(run.Result))
//
// A flow in Python is named instead of a command:
//
//	submit.Invocation{Runtime: bundle.RuntimePython, Entrypoint: "flow.py:main", Dir: "flows", Parameters: parameters}
//
// A program in Go has its own functions run elsewhere. What travels is the program itself, which
// knows by [Main] what it was started for:
//
//	var train = submit.NewFlow("train", func(ctx context.Context, in In) (Out, error) { … })
//
//	func main() {
//		submit.Main(train)
//		remote := train.On(submit.Infrastructure{WorkPool: "local", IncludeFiles: []string{"data/"}})
//		out, err := remote.Run(ctx, In{Dataset: "a"})                 // launched from here, and waited for
//		a, err := remote.Submit(ctx, In{Dataset: "a"})                // launched from here
//		b, err := remote.SubmitToWorkPool(ctx, In{Dataset: "b"})      // launched by a worker
//		for f, err := range submit.AsCompleted(ctx, a, b) { … }       // futures, see [Future]
//		text, err := submit.Call(report, submit.Args{"A": a, "B": b}).Run(ctx)
//	}
//
// This is the embedded default: bundles in a folder, flow runs in SQLite, commands and flows as
// local processes, all below one home directory and nothing to install. The bundle is stored
// before the flow run is created, so that a failed upload leaves no run behind.
//
// Where the bundles of a work pool are in a bucket, the program that submits imports the bucket's
// driver for its side effect, such as gocloud.dev/blob/s3blob: see package storage/gocloud.
//
// Every run ends in a final state. Its submitter and its executor each hold a lease on it, and
// one that was killed is spoken for by the other. A run that both have left is ended by whoever
// looks next, be it to list runs or to submit another one.
//
// A client that is killed may leave temporary files in tmp and in the store, below the home. They
// are removed when a client packs something a day later.
package submit
