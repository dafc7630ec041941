package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write docs/ and the expected output of scripts instead of comparing")

func TestMain(m *testing.M) {
	fixUmask()
	testscript.Main(m, map[string]func(){"flowship": main})
}

// TestScript runs the scripts in testdata/script at the top: every command, every kind of error, and the
// examples of the README. A script has an empty home and stores of its own.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FLOWSHIP_HOME", env.WorkDir+"/.home")
			env.Setenv("NO_COLOR", "")
			env.Setenv("TERM", "xterm")
			return os.Mkdir(env.WorkDir+"/.home", 0o700)
		},
		Condition: scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"bytes":  cmdBytes,
			"cut":    cmdCut,
			"exits":  cmdExits,
			"fifo":   cmdFIFO,
			"flip":   cmdFlip,
			"json":   cmdJSON,
			"mtime":  cmdMtime,
			"setenv": cmdSetenv,
		},
	})
}
