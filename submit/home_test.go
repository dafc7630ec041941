//go:build unix

package submit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func TestDirectories(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("darwin has directories of its own")
	}
	cwd := t.TempDir()
	t.Chdir(cwd)
	for _, test := range []struct {
		name                 string
		home, user           string
		xdgState, xdgCache   string
		wantState, wantCache string
	}{
		{"given", "/h", "/u", "/s", "/c", "/h", "/h/cache"},
		{"given, relative", "h", "/u", "/s", "/c", cwd + "/h", cwd + "/h/cache"},
		{"variables", "", "/u", "/s", "/c", "/s/flowship", "/c/flowship"},
		{"no variables", "", "/u", "", "", "/u/.local/state/flowship", "/u/.cache/flowship"},
		{"relative variables", "", "/u", "s", "c", "/u/.local/state/flowship", "/u/.cache/flowship"},
		{"relative user", "", "u", "", "", cwd + "/u/.local/state/flowship", cwd + "/u/.cache/flowship"},
		{"nothing", "", "", "", "", "no home directory", "no home directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOME", test.user)
			t.Setenv("XDG_STATE_HOME", test.xdgState)
			t.Setenv("XDG_CACHE_HOME", test.xdgCache)
			got := []string{}
			for _, dir := range []func(string) (string, error){submit.StateDir, submit.CacheDir} {
				path, err := dir(test.home)
				if err != nil {
					path = err.Error()
				}
				got = append(got, path)
			}
			if diff := cmp.Diff([]string{test.wantState, test.wantCache}, got); diff != "" {
				t.Errorf("state and cache (-want +got):\n%s", diff)
			}
		})
	}
}

// Client and executor use the same flow runs, whatever the environment says; and there need not
// be a place for the cache.
func TestHomeOfTheExecutor(t *testing.T) {
	if runtime.GOOS == "darwin" {
		t.Skip("darwin has directories of its own")
	}
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("FLOWSHIP_HOME", t.TempDir())
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Executor: []string{os.Args[0]}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run, err := c.Run(t.Context(), submit.Invocation{
		Dir: tree(t, map[string]string{"f": "content\n"}), Include: []string{"f"}, Command: sh(`test -z "$FLOWSHIP_STATE"`),
	})
	if err != nil || run.State.Type != orchestrator.TypeCompleted {
		t.Fatalf("%+v, %v", run, err)
	}
	(&bed{home: filepath.Join(state, "flowship")}).wantRecord(t, run)
}

// Looking for a bundle makes no home.
func TestLookUpWithoutHome(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, ref := range []string{"00000000-0000-4000-8000-000000000000", "file://" + t.TempDir() + "/key"} {
		if _, _, err := c.OpenBundle(t.Context(), ref); bundle.KindOf(err) != bundle.KindNotFound {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := os.Lstat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a home (%v)", err)
	}
}
