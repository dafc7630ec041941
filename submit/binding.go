package submit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/worker"
)

// Infrastructure says where a flow runs, and with which files. What is left out (nil, "") stays
// as it was, what is given empty is cleared, and anything else replaces what was: maps and
// lists are not merged.
type Infrastructure struct {
	// Type of the work pool, such as "process": another one is refused. "" is any.
	Type string
	// WorkPool is the name of a work pool; "" is the default one.
	WorkPool string
	// JobVariables are those of the pool's base job template, and "storage_access", see
	// [AccessSigned].
	JobVariables map[string]any
	// IncludeFiles are the patterns that select the files that travel, as Prefect reads them.
	IncludeFiles []string
	// Dir is the base directory of the patterns. "" is that of the source file that calls
	// [NewFlow] or, where this is not known because of -trimpath, the working directory.
	Dir string
	// Launcher stands before the steps' commands.
	Launcher *launch.Launcher
	// Client to submit with; nil is that of the environment, as the command line has it: one for
	// all flows and futures of the program.
	Client *Client
	// Platform is the operating system and architecture that the flow runs on, as "linux/arm64", and
	// the same as the job variable "platform". "" is that of the job's image or nodes, as far as
	// they can be asked from here, or else of this machine. For another platform than this
	// program's, the program is built from its source.
	Platform string
}

// Options of a flow's runs. What is nil stays as it was; what is given replaces it, also by
// nothing.
type Options struct {
	Name       *string // of the flow run; "" is a random one
	Tags       []string
	Retries    *int           // how often a run that failed is run again
	RetryDelay *time.Duration // and how much later
	Timeout    *time.Duration // how long a run may take; 0 is without end
	Version    *string        // of the flow, as its author counts
	Labels     map[string]string
	// ResultStorage is the URL of the store that keeps the result; "" is that of the bundle.
	ResultStorage *string
}

// Int returns a pointer to the value, for [Options].
func Int(value int) *int { return &value }

// String returns a pointer to the value, for [Options].
func String(value string) *string { return &value }

// Duration returns a pointer to the value, for [Options].
func Duration(value time.Duration) *time.Duration { return &value }

// binding is where and how a flow runs. It is a value, and what it refers to is never changed.
type binding struct {
	infra     Infrastructure // its JobVariables are nil
	variables json.RawMessage
	opts      Options
	runs      submitter // nil: that of infra
	err       error     // what can be in no binding
}

func (b binding) on(i Infrastructure) binding {
	keep(&b.infra.Type, i.Type)
	keep(&b.infra.WorkPool, i.WorkPool)
	keep(&b.infra.Dir, i.Dir)
	keep(&b.infra.Platform, i.Platform)
	keep(&b.infra.Client, i.Client)
	if i.IncludeFiles != nil {
		b.infra.IncludeFiles = slices.Clone(i.IncludeFiles)
	}
	if i.Launcher != nil {
		b.infra.Launcher = &launch.Launcher{Upload: slices.Clone(i.Launcher.Upload), Execution: slices.Clone(i.Launcher.Execution)}
	}
	if i.JobVariables != nil {
		variables, err := encodeJSON(i.JobVariables)
		if b.variables, b.err = variables, nil; err != nil {
			b.err = &InvalidError{fmt.Sprintf("the job variables are not JSON: %v", err)}
		}
	}
	return b
}

func (b binding) with(o Options) binding {
	keep(&b.opts.Name, o.Name)
	keep(&b.opts.Retries, o.Retries)
	keep(&b.opts.RetryDelay, o.RetryDelay)
	keep(&b.opts.Timeout, o.Timeout)
	keep(&b.opts.Version, o.Version)
	keep(&b.opts.ResultStorage, o.ResultStorage)
	if o.Tags != nil {
		b.opts.Tags = slices.Clone(o.Tags)
	}
	if o.Labels != nil {
		b.opts.Labels = maps.Clone(o.Labels)
	}
	return b
}

// keep leaves what is there if nothing is given in its place.
func keep[T comparable](to *T, given T) {
	if given != *new(T) {
		*to = given
	}
}

func given[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// invocation describes a run for the client.
func (b binding) invocation(ctx context.Context, d *definition, parameters json.RawMessage) (Invocation, error) {
	inv := Invocation{
		Runtime: bundle.RuntimeGo, Entrypoint: ":" + d.name, Dir: b.infra.Dir, Include: b.infra.IncludeFiles, Parameters: parameters,
		Checked: true, WorkPool: b.infra.WorkPool, Type: b.infra.Type, Launcher: b.infra.Launcher,
		Name: given(b.opts.Name), Tags: b.opts.Tags, Timeout: given(b.opts.Timeout), Version: given(b.opts.Version), Labels: b.opts.Labels,
		Retries: given(b.opts.Retries), RetryDelay: given(b.opts.RetryDelay), Results: given(b.opts.ResultStorage),
	}
	inv.Collected = func(files *bundle.Collection) { warnOf(ctx, files) }
	if inv.Dir == "" && d.dir != "" {
		if _, err := os.Stat(d.dir); err == nil { // else the program was built elsewhere
			inv.Dir = d.dir
		}
	}
	if inv.Launcher != nil && len(inv.Launcher.Upload)+len(inv.Launcher.Execution) == 0 {
		inv.Launcher = nil
	}
	if b.variables != nil {
		if err := decodeJSON(b.variables, &inv.JobVariables); err != nil {
			return inv, err
		}
	}
	if b.infra.Platform != "" {
		if _, err := launch.ParsePlatform(b.infra.Platform); err != nil {
			return inv, &InvalidError{err.Error()}
		}
		inv.JobVariables = maps.Clone(inv.JobVariables)
		if inv.JobVariables == nil {
			inv.JobVariables = map[string]any{}
		}
		inv.JobVariables[worker.Platform] = b.infra.Platform
	}
	inv.Build = d.program
	return inv, nil
}
