// Package submit packs an invocation, stores its bundle, has it run and says what became of it.
//
//	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Executor: []string{"/usr/bin/flowship", "step"}})
//	defer c.Close()
//	run, err := c.RunCommand(ctx, submit.CommandRun{
//		Dir:     "flows/wordcount",
//		Include: []string{"count.sh", "texts/"},
//		Command: []string{"sh", "count.sh"},
//		Stdout:  os.Stdout,
//	})
//	fmt.Println(run.State.Name, string(run.Result))
//
// This is the embedded default: bundles in a folder, flow runs in SQLite, commands as local
// processes, all below one home directory and nothing to install. The bundle is stored before
// the flow run is created, so that a failed upload leaves no run behind. A run ends in a final
// state as long as either its submitter or its executor lives to tell: one that was killed is
// spoken for by the other.
//
// A client that is killed may leave temporary files in tmp and in the store, below the home. They
// are removed when a client packs something a day later.
package submit
