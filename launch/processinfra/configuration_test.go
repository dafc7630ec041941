//go:build unix

package processinfra_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
)

// program makes an executable script.
func program(t *testing.T, path, source string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+source), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestConfiguration(t *testing.T) {
	home := t.TempDir()
	venv, work, bin, conda := filepath.Join(home, "venv"), filepath.Join(home, "work"), filepath.Join(home, "bin"), filepath.Join(home, "conda env")
	program(t, filepath.Join(venv, "bin", "python"), `echo "the venv's $FLOWSHIP_PYTHON $VIRTUAL_ENV ${PYTHONHOME-none} $PATH"`)
	program(t, filepath.Join(bin, "conda"), `for a; do printf '<%s>' "$a"; done; echo " ${FLOWSHIP_PYTHON-none}"`)
	program(t, filepath.Join(bin, "tool"), `echo tool; pwd; echo "$PWD"`)
	for _, d := range []string{work, conda, filepath.Join(home, "empty")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	system := "/bin:/usr/bin"
	environ := []string{"PATH=" + bin + ":" + system, "PYTHONHOME=/nowhere", "FLOWSHIP_PYTHON=other", "INHERITED=yes"}
	for _, test := range []struct {
		name      string
		variables map[string]any
		command   []string
		want      string // output, or part of the error of Start
	}{
		{"only what is inherited", nil, sh(`echo "$INHERITED ${HOME-none}"`), "yes none\n"},
		{"the job's PATH", map[string]any{"env": map[string]any{"PATH": system}}, []string{"tool"}, `exec: "tool": executable file not found in $PATH`},
		{"working_dir", map[string]any{"working_dir": work}, []string{"tool"}, "tool\n" + work + "\n" + work + "\n"},
		{"relative to working_dir", map[string]any{"working_dir": home}, []string{"./bin/tool"}, "tool\n" + home + "\n" + home + "\n"},
		{"no working_dir", map[string]any{"working_dir": home + "/nonesuch"}, []string{"tool"}, "working_dir: stat " + home + "/nonesuch: no such file"},
		{"working_dir is a file", map[string]any{"working_dir": bin + "/tool"}, []string{"tool"}, "is not a directory"},
		{"virtualenv", map[string]any{"virtualenv": venv}, []string{"python"}, "the venv's " + venv + "/bin/python " + venv + " none " + venv + "/bin:" + bin + ":" + system + "\n"},
		{"virtualenv without python", map[string]any{"virtualenv": home + "/empty"}, []string{"tool"}, `has no interpreter`},
		{"no virtualenv", map[string]any{"virtualenv": home + "/nonesuch"}, []string{"tool"}, "virtualenv: stat"},
		{"condaenv by name", map[string]any{"condaenv": "etl"}, []string{"no such tool", "a"}, "<run><-n><etl><--no-capture-output><no such tool><a> none\n"},
		{"condaenv by path", map[string]any{"condaenv": conda, "env": map[string]any{"FLOWSHIP_PYTHON": "mine"}}, []string{"tool"}, "<run><-p><" + conda + "><--no-capture-output><tool> mine\n"},
		{"condaenv is a flag", map[string]any{"condaenv": "-x"}, []string{"tool"}, `condaenv "-x" is neither a name nor a path`},
		{"no conda", map[string]any{"condaenv": "etl", "env": map[string]any{"PATH": system}}, []string{"tool"}, `exec: "conda": executable file not found in $PATH`},
		{"both", map[string]any{"virtualenv": venv, "condaenv": "etl"}, []string{"tool"}, "virtualenv and condaenv exclude each other"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir, Environ: environ}))
			configuration, err := infra.Template().Resolve(test.variables)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			r, err := infra.Start(t.Context(), launch.Job{Configuration: configuration, Command: test.command, Stdout: &out})
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
			} else {
				wait(t, r)
				if diff := cmp.Diff(test.want, out.String()); diff != "" {
					t.Errorf("output (-want +got):\n%s", diff)
				}
			}
			wantEmpty(t, dir)
		})
	}
	if _, err := os.Stat(work); err != nil {
		t.Errorf("the working directory was removed: %v", err)
	}
}

// The directory that the configuration names is the one that is kept.
func TestKeepWorkingDir(t *testing.T) {
	dir, work := t.TempDir(), t.TempDir()
	exit := wait(t, start(t, dir, launch.Job{Configuration: map[string]any{"working_dir": work}, Command: sh("exit 0"), Keep: true}))
	if exit.Dir != work {
		t.Errorf("kept %q, want %q", exit.Dir, work)
	}
	wantEmpty(t, dir)
}

// The template is that of Prefect's process worker, with two variables beside.
func TestTemplate(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", "worker-templates.json"))
	if err != nil {
		t.Fatal(err)
	}
	type template struct {
		Configuration map[string]any `json:"job_configuration"`
		Variables     struct {
			Type       string         `json:"type"`
			Properties map[string]any `json:"properties"`
			Required   []string       `json:"required"`
		} `json:"variables"`
	}
	var stock map[string]template
	if err := json.Unmarshal(source, &stock); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(processinfra.New(nil).Template())
	if err != nil {
		t.Fatal(err)
	}
	var ours template
	if err := json.Unmarshal(b, &ours); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"virtualenv", "condaenv"} {
		if ours.Configuration[name] != "{{ "+name+" }}" || ours.Variables.Properties[name] == nil {
			t.Errorf("%s is not there", name)
		}
		delete(ours.Configuration, name)
		delete(ours.Variables.Properties, name)
	}
	if diff := cmp.Diff(stock[processinfra.Type], ours); diff != "" {
		t.Errorf("template (-Prefect +ours):\n%s", diff)
	}
}

// A driver that works for weeks does not remember all that it ever ran, but what nobody has
// asked for.
func TestForgets(t *testing.T) {
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: t.TempDir()}))
	begin := func() *launch.Running {
		r, err := infra.Start(t.Context(), launch.Job{Command: []string{"true"}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	unasked, first := begin(), begin()
	wait(t, first)
	for i := range 256 {
		if i == 255 { // until now, it can be asked again
			wait(t, first)
		}
		wait(t, begin())
	}
	if _, err := first.Wait(t.Context()); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("the first: %v, want ErrNotFound", err)
	}
	if err := first.Stop(t.Context(), 0); err != nil {
		t.Errorf("stop of what is forgotten: %v", err)
	}
	wait(t, unasked)
}
