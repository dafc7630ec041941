package main

import (
	"flag"
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write docs/ and the expected output of scripts instead of comparing")

func TestMain(m *testing.M) {
	fixUmask()
	testscript.Main(testsWith{m, &delivered}, map[string]func(){"flowship": main, "flowship-brief": brief})
}

// brief is flowship with leases that expire soon.
func brief() {
	c := newConsole(os.Stdin, os.Stdout, os.Stderr)
	c.lease = 3 * time.Second
	os.Exit(run(c))
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
			if err := setGoEnv(env); err != nil {
				return err
			}
			if err := setS3Env(env); err != nil {
				return err
			}
			setPrefectEnv(env)
			for script, testbed := range map[string]string{
				"DOCKER_HOST": "FLOWSHIP_TEST_DOCKER", "KUBECONFIG": "FLOWSHIP_TEST_KUBECONFIG", "REGISTRY": "FLOWSHIP_TEST_REGISTRY",
			} {
				if value := os.Getenv(testbed); value != "" {
					env.Setenv(script, value)
				}
			}
			return os.Mkdir(env.WorkDir+"/.home", 0o700)
		},
		Condition: scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"api":      cmdAPI,
			"bytes":    cmdBytes,
			"cut":      cmdCut,
			"exits":    cmdExits,
			"fifo":     cmdFIFO,
			"flip":     cmdFlip,
			"image":    cmdImage,
			"json":     cmdJSON,
			"mtime":    cmdMtime,
			"programs": cmdPrograms,
			"registry": cmdRegistry,
			"same":     cmdSame,
			"setenv":   cmdSetenv,
			"share":    cmdShare,
		},
	})
}

// setGoEnv lets a script, whose home is empty, build with the caches that this test was built
// with. REPO is the top of this repository, and FLOWSHIP this program where PATH is not to find
// any.
func setGoEnv(env *testscript.Env) error {
	cache := os.Getenv("GOCACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(dir, "go-build")
	}
	self, err := exec.LookPath("flowship")
	if err != nil {
		return err
	}
	env.Setenv("GOCACHE", cache)
	env.Setenv("GOPATH", build.Default.GOPATH)
	env.Setenv("FLOWSHIP", self)
	env.Setenv("SHELLPATH", env.Getenv("PATH"))
	repo, err := filepath.Abs("../..")
	env.Setenv("REPO", repo)
	return err
}
