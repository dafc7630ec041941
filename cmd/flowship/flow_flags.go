package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/worker"
)

// flowFlags are the flags of the three ways to have a flow run.
type flowFlags struct {
	selection
	parameters
	launcherFlags
	pool       string
	variables  []string
	access     string
	name       string
	tags       []string
	timeout    time.Duration
	retries    int
	retryDelay time.Duration
	priority   int
	noCache    bool
}

func (f *flowFlags) register(flags *pflag.FlagSet) {
	flags.SortFlags = false
	f.selection.register(flags)
	f.parameters.register(flags)
	flags.StringVar(&f.pool, "pool", "", "`NAME` of the work pool (default: the default one, else local)")
	flags.StringArrayVarP(&f.variables, "job-variable", "v", nil, "a job variable as `NAME=VALUE`; VALUE is JSON, else a string; repeatable")
	flags.StringVar(&f.access, "storage-access", "", "how the job gets at the stores: `HOW` is ambient (credentials of its own) or signed (URLs made when it is launched) (default ambient)")
	flags.StringVar(&f.name, "name", "", "`NAME` of the flow run (default: a random one)")
	flags.StringArrayVar(&f.tags, "tag", nil, "a `TAG` of the flow run; repeatable")
	flags.DurationVar(&f.timeout, "timeout", 0, "how long it may run: 90s, 1h30m (default: without end)")
	flags.IntVar(&f.retries, "retries", 0, "how often it is run again when it fails: `N` times")
	flags.DurationVar(&f.retryDelay, "retry-delay", 0, "how long after it failed it is run again")
	flags.IntVar(&f.priority, "priority", 0, "of what waits in the work pool, the lowest `N` goes first")
	f.launcherFlags.register(flags)
	registerNoCache(flags, &f.noCache)
}

// flowTarget is the target of a command that has something run.
func (f *flowFlags) flowTarget(cmd *cobra.Command, args []string) (*target, error) {
	t, err := f.target(cmd, args)
	switch {
	case err != nil:
		return nil, err
	case t.invocation.Runtime == "":
		return nil, usagef("", "missing ENTRYPOINT or -- COMMAND")
	case f.timeout < 0:
		return nil, usagef("", "--timeout %v is negative", f.timeout)
	case f.retries < 0:
		return nil, usagef("", "--retries %d is negative", f.retries)
	case f.retryDelay < 0:
		return nil, usagef("", "--retry-delay %v is negative", f.retryDelay)
	case f.access != "" && f.access != submit.AccessAmbient && f.access != submit.AccessSigned:
		return nil, usagef("", "--storage-access %q: want %s or %s", f.access, submit.AccessAmbient, submit.AccessSigned)
	}
	return t, nil
}

// read makes the invocation.
func (f *flowFlags) read(ctx context.Context, c *console, t *target) (submit.Invocation, error) {
	inv := submit.Invocation{
		Runtime:    t.invocation.Runtime,
		Command:    t.invocation.Command,
		Entrypoint: t.invocation.Entrypoint,
		NoSource:   t.collect.Entrypoint == "",
		Dir:        t.base,
		Include:    f.include,
		Name:       f.name,
		Tags:       f.tags,
		Timeout:    f.timeout,
		Retries:    f.retries,
		RetryDelay: f.retryDelay,
		WorkPool:   f.pool,
		Priority:   f.priority,
		NoCache:    f.noCache,
		Collected:  c.warnCollected,
		Progress: func(step string, total int64) (func(int64), func()) {
			p := c.startProgress(stepVerbs[step], total)
			return p.add, p.stop
		},
	}
	var err error
	if inv.Launcher, err = f.launcher(); err != nil {
		return inv, err
	}
	if inv.JobVariables, err = f.jobVariables(); err != nil {
		return inv, err
	}
	if inv.Parameters, err = f.parameters.read(ctx, c.in); err != nil {
		return inv, err
	}
	if inv.Runtime == bundle.RuntimeGo {
		inv.Build = func(ctx context.Context, platform launch.Platform) (*submit.Program, error) {
			return buildProgram(ctx, c, t, platform)
		}
	}
	return inv, nil
}

// jobVariables are those of -v with what --storage-access sets.
func (f *flowFlags) jobVariables() (map[string]any, error) {
	variables, err := jobVariables(f.variables)
	if err != nil || f.access == "" {
		return variables, err
	}
	if variables == nil {
		variables = map[string]any{}
	}
	if other, ok := variables[worker.StorageAccess]; ok && other != f.access {
		return nil, usagef("", "--storage-access %s contradicts the job variable %q", f.access, worker.StorageAccess)
	}
	variables[worker.StorageAccess] = f.access
	return variables, nil
}

// jobVariables reads --job-variable, or nil where there is none.
func jobVariables(pairs []string) (map[string]any, error) {
	if pairs == nil {
		return nil, nil
	}
	variables := map[string]any{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("", "--job-variable %q is not NAME=VALUE", pair)
		}
		variables[name] = value
		if !json.Valid([]byte(value)) {
			continue
		}
		var v any
		dec := json.NewDecoder(bytes.NewReader([]byte(value)))
		dec.UseNumber() // large numbers stay what they are
		if err := dec.Decode(&v); err != nil {
			return nil, usagef("", "--job-variable %q: %v", pair, err)
		}
		variables[name] = v
	}
	return variables, nil
}
