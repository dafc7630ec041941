package processinfra

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/flowship/flowship/launch"
)

// What an executor takes for the name of its Python interpreter.
const envPython = "FLOWSHIP_PYTHON"

// configuration is the job configuration of the process type.
type configuration struct {
	launch.Common
	StreamOutput *bool  `json:"stream_output"` // nil is true
	WorkingDir   string `json:"working_dir"`
	Virtualenv   string `json:"virtualenv"`
	Condaenv     string `json:"condaenv"`
}

// plan is a job as it is going to be started: everything that can be wrong with it was found
// before anything was made.
type plan struct {
	job     *launch.Job
	program string   // its file
	argv    []string // with the name that it was given
	env     []string
	dir     string // "" is a fresh one
	stream  bool
}

func (d *Driver) plan(job *launch.Job) (*plan, error) {
	if len(job.Files)+len(job.Take) > 0 {
		return nil, errors.New("a process has this machine's own files: none are copied for it")
	}
	var c configuration
	if err := job.Configure(&c); err != nil {
		return nil, err
	}
	p := &plan{job: job, stream: c.StreamOutput == nil || *c.StreamOutput}
	var err error
	if p.argv, err = job.Argv(c.Command, splitLine); err != nil {
		return nil, err
	}
	if c.WorkingDir != "" {
		if p.dir, err = directory("working_dir", c.WorkingDir); err != nil {
			return nil, err
		}
	}
	inherited := d.environ
	if inherited == nil {
		inherited = os.Environ()
	}
	set, unset, err := job.Environment(c.Env)
	if err != nil {
		return nil, err
	}
	if c.Condaenv != "" {
		// It would win over the environment's interpreter.
		unset = append(unset, envPython)
	}
	p.env = append(without(inherited, unset), set...)
	if err := p.enter(&c); err != nil {
		return nil, err
	}
	p.program, err = lookPath(p.argv[0], lookup(p.env, "PATH"), p.dir)
	return p, err
}

// enter has the job run in the environment of Python that the configuration names.
func (p *plan) enter(c *configuration) error {
	switch {
	case c.Virtualenv != "" && c.Condaenv != "":
		return errors.New("virtualenv and condaenv exclude each other")
	case c.Virtualenv != "":
		home, err := directory("virtualenv", c.Virtualenv)
		if err != nil {
			return err
		}
		bin, name := filepath.Join(home, "bin"), "python"
		if runtime.GOOS == "windows" {
			bin, name = filepath.Join(home, "Scripts"), "python.exe"
		}
		python, err := exec.LookPath(filepath.Join(bin, name))
		if err != nil {
			return fmt.Errorf("virtualenv %q has no interpreter: %w", c.Virtualenv, err)
		}
		path := bin
		if old := lookup(p.env, "PATH"); old != "" {
			path += string(filepath.ListSeparator) + old
		}
		p.env = append(without(p.env, []string{"PYTHONHOME", "PATH"}), "PATH="+path, "VIRTUAL_ENV="+home, envPython+"="+python)
	case c.Condaenv != "":
		which := []string{"-n", c.Condaenv}
		if strings.ContainsAny(c.Condaenv, `/\`) {
			path, err := directory("condaenv", c.Condaenv)
			if err != nil {
				return err
			}
			which = []string{"-p", path}
		} else if strings.HasPrefix(c.Condaenv, "-") {
			return fmt.Errorf("condaenv %q is neither a name nor a path", c.Condaenv)
		}
		p.argv = slices.Concat([]string{"conda", "run"}, which, []string{"--no-capture-output"}, p.argv)
	}
	return nil
}

// directory returns the absolute path of a directory that is there.
func directory(variable, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s: %q is not a directory", variable, path)
	}
	return filepath.Abs(path)
}

// lookPath finds the program in the job's PATH, which need not be this program's. Relative
// directories there are passed over: they would not be those of the job.
func lookPath(name, path, dir string) (string, error) {
	if strings.ContainsRune(name, '/') || strings.ContainsRune(name, filepath.Separator) {
		if dir != "" && !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		found, err := exec.LookPath(name)
		if err != nil {
			return "", err
		}
		return filepath.Abs(found)
	}
	for _, d := range filepath.SplitList(path) {
		if filepath.IsAbs(d) {
			if found, err := exec.LookPath(filepath.Join(d, name)); err == nil {
				return found, nil
			}
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// without returns the environment without some variables.
func without(env, names []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return is(v, name) })
	})
}

// lookup returns the value of a variable; of several entries, the last counts.
func lookup(env []string, name string) string {
	for _, v := range slices.Backward(env) {
		if is(v, name) {
			return v[len(name)+1:]
		}
	}
	return ""
}

// is reports whether the entry is about that variable.
func is(entry, name string) bool {
	if len(entry) <= len(name) || entry[len(name)] != '=' {
		return false
	}
	return entry[:len(name)] == name || runtime.GOOS == "windows" && strings.EqualFold(entry[:len(name)], name)
}
