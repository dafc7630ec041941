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
// This is the embedded default: bundles in a folder, flow runs in SQLite, commands and flows as
// local processes, all below one home directory and nothing to install. The bundle is stored
// before the flow run is created, so that a failed upload leaves no run behind.
//
// Every run ends in a final state. Its submitter and its executor each hold a lease on it, and
// one that was killed is spoken for by the other. A run that both have left is ended by whoever
// looks next, be it to list runs or to submit another one.
//
// A client that is killed may leave temporary files in tmp and in the store, below the home. They
// are removed when a client packs something a day later.
package submit
