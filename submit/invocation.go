package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
)

// Invocation is what is to be run, and with what.
type Invocation struct {
	// Runtime says what is run: RuntimeExec, also for "", a Command, RuntimePython the flow at
	// an Entrypoint, RuntimeGo the flow at an Entrypoint in a Program.
	Runtime bundle.Runtime
	// Command is the argument vector, run in a directory that holds the files.
	Command []string
	// Entrypoint is a function in a Python file, "flow.py:main", relative to Dir, or a flow of a
	// Go program, "path/dir:train", of which only what follows the last colon counts.
	Entrypoint string
	// Program is the Go program; nil for another runtime.
	Program *Program
	// Build, if not nil, makes the Program for the platform of the job.
	Build func(ctx context.Context, platform launch.Platform) (*Program, error)
	// NoSource has the flow's file and the local modules that it imports stay behind.
	NoSource bool

	// Dir is the base directory of the include patterns; "" is the current one.
	Dir string
	// Include are the patterns that select the files that travel, as Prefect reads them.
	Include []string
	// Parameters is a JSON object of at most 16 MiB; nil is an empty one.
	Parameters json.RawMessage
	// Checked says that the parameters are known to fit the flow of a Program. Otherwise the
	// program is asked before anything is stored, if it is one for this machine.
	Checked bool
	// Name is the flow run's; "" is a random one.
	Name    string
	Tags    []string
	Version string // of the flow, as its author counts
	Labels  map[string]string
	// Timeout is how long it may run; 0 is without end.
	Timeout time.Duration
	// Retries is how often a run that failed is run again, RetryDelay how much later.
	Retries    int
	RetryDelay time.Duration

	// WorkPool is where it runs; "" is the default work pool, or else "local".
	WorkPool string
	// Type is what the pool's type must be, as [launch.Settings] names it; "" is any.
	Type string
	// JobVariables go to the pool's base job template, but for "storage_access", see [AccessSigned],
	// and "platform", as "linux/arm64", which programs are put into the job; without it, those that
	// its container's image or its nodes ask for.
	JobVariables map[string]any
	// Launcher, if not nil, has an execution side that stands in place of the flowship program in
	// the command line of the executor.
	Launcher *launch.Launcher
	// Priority orders what waits in a work pool: lower numbers go first.
	Priority int
	// Results is the URL of the store of the run's record; "" is that of its bundle.
	Results string

	// Keep leaves the working directory behind, see [Run.Dir].
	Keep bool
	// Stdout and Stderr get what the command or the flow prints as it comes; nil discards it.
	// An *os.File becomes its own.
	Stdout, Stderr io.Writer

	// Kill, when closed, has a run that is being cancelled killed at once; nil never is.
	Kill <-chan struct{}

	// NoCache reads every file, whatever the cache remembers of it.
	NoCache bool
	// Collected, if not nil, is called with the chosen files before any is read.
	Collected func(*bundle.Collection)
	// Progress, if not nil, is called when a step begins that may take long ("hash", "verify",
	// "pack", "upload"), with the number of bytes to come. It returns what is to be called with each
	// further number of bytes, and at the end.
	Progress func(step string, total int64) (add func(bytes int64), done func())
}

// Program is an executable file with Go flows in it, for one platform.
type Program struct {
	Path     string
	OS, Arch string // as GOOS and GOARCH

	known *bundle.Archive // its bytes, if they are known already
}

// InvalidError: there can be no such run, whatever the state of the system.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// maxParameters is the size in bytes of the largest parameters: they are held in memory, in
// several copies.
const maxParameters = 16 << 20

// check completes the invocation, and refuses one that can never be run.
func (inv *Invocation) check() error {
	if inv.Runtime == "" {
		inv.Runtime = bundle.RuntimeExec
	}
	switch {
	case inv.Runtime != bundle.RuntimeExec && inv.Runtime != bundle.RuntimePython && inv.Runtime != bundle.RuntimeGo:
		return &InvalidError{fmt.Sprintf("runtime %q cannot be run", inv.Runtime)}
	case inv.Runtime != bundle.RuntimeExec && inv.Entrypoint == "":
		return &InvalidError{"no entrypoint"}
	case (inv.Runtime == bundle.RuntimeGo) != (inv.Program != nil || inv.Build != nil):
		return &InvalidError{"a Go flow needs its program, and nothing else has one"}
	case inv.Runtime == bundle.RuntimeExec && (len(inv.Command) == 0 || inv.Command[0] == ""):
		return &InvalidError{"no command"}
	case inv.Entrypoint != "" && inv.Command != nil:
		return &InvalidError{"both an entrypoint and a command"}
	}
	texts := slices.Concat(inv.Command, inv.Tags, []string{inv.Name, inv.Entrypoint, inv.Version, inv.WorkPool, inv.Results})
	for key, value := range inv.Labels {
		texts = append(texts, key, value)
	}
	for _, text := range texts {
		switch {
		case !utf8.ValidString(text):
			return &InvalidError{fmt.Sprintf("%q is not UTF-8", text)}
		case strings.ContainsRune(text, 0):
			return &InvalidError{fmt.Sprintf("%q contains a null byte", text)}
		}
	}
	switch {
	case inv.Timeout < 0:
		return &InvalidError{fmt.Sprintf("the timeout %v is negative", inv.Timeout)}
	case inv.Retries < 0:
		return &InvalidError{fmt.Sprintf("the number of retries %d is negative", inv.Retries)}
	case inv.RetryDelay < 0:
		return &InvalidError{fmt.Sprintf("the retry delay %v is negative", inv.RetryDelay)}
	}
	p := inv.Parameters
	switch {
	case p == nil:
	case len(p) > maxParameters:
		return &InvalidError{fmt.Sprintf("the parameters have %d bytes, more than %d", len(p), maxParameters)}
	case !utf8.Valid(p):
		return &InvalidError{"the parameters are not UTF-8"}
	case !json.Valid(p) || bytes.TrimSpace(p)[0] != '{':
		return &InvalidError{"the parameters are not a JSON object"}
	}
	return nil
}

// flowName is the flow's name as far as it is known without running anything. Prefect derives
// it from the function's in the same way.
func (inv *Invocation) flowName() string {
	switch inv.Runtime {
	case bundle.RuntimeExec:
		return filepath.Base(inv.Command[0])
	case bundle.RuntimeGo:
		return inv.Entrypoint[strings.LastIndexByte(inv.Entrypoint, ':')+1:]
	}
	return strings.ReplaceAll(inv.Entrypoint[strings.LastIndexAny(inv.Entrypoint, ":.")+1:], "_", "-")
}
