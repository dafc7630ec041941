package main

import (
	"bufio"
	"context"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
)

type buildOptions struct {
	selection
	parameters
	out          string
	dryRun       bool
	writeLock    string
	name         string
	requirements string
	noCache      bool
}

func newBuildCommand(c *console) *cobra.Command {
	opts := &buildOptions{}
	cmd := &cobra.Command{
		Use:         "build [ENTRYPOINT] --include PATTERN... {--out DIR | --dry-run} [-- COMMAND...]",
		Short:       "Pack files and an invocation into a bundle",
		Annotations: map[string]string{packing: ""},
		Long: `Build packs the files that --include selects, with the invocation of a flow or of a
command line, into the directory --out. A flow in Python is path/flow.py:name, and
is read, never run. A flow in Go is path/dir:name, its package main built by go
build for this platform. Building again gives the same bytes.

--dry-run writes no bundle: it shows each file and why it is packed, what ignore
files left out, and the key. --write-lock writes what the bundle holds into a lock
file, one line a file, made to be committed; bundle verify --lock compares.

JSON: {"bundle", "digest", "files_key", "runtime", "entrypoint", "command",
"files": [{"path", "size", "mode", "sha256", "why"}], "file_count", "total_size",
"archive_size", "excluded": [{"path", "rule", "source"}], "excluded_count",
"sensitive": [{"path", "rule"}], "warnings", "notes"}.`,
		Example: `  flowship bundle build flows/etl.py:main --include 'data/*.csv' --out dist
  flowship bundle build --include . --include '!dist/' --out dist -- sh run.sh
  flowship bundle build --include data/ --dry-run
  flowship bundle build flows/etl.py:main --out dist --write-lock flow.lock`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.target(cmd, args)
			if err != nil {
				return err
			}
			return runBuild(cmd.Context(), c, opts, t)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	opts.selection.register(flags)
	flags.StringVar(&opts.out, "out", "", "`DIR` to write the bundle to, made if need be")
	flags.BoolVar(&opts.dryRun, "dry-run", false, "show what would be packed, write no bundle")
	flags.StringVar(&opts.writeLock, "write-lock", "", "write a lock `FILE`")
	opts.parameters.register(flags)
	flags.StringVar(&opts.name, "name", "", "`NAME` of the flow run")
	flags.StringVar(&opts.requirements, "requirements", "", "requirements `FILE` that the job installs (default: none, its image has them)")
	registerNoCache(flags, &opts.noCache)
	return cmd
}

func runBuild(ctx context.Context, c *console, opts *buildOptions, t *target) error {
	if err := opts.check(t); err != nil {
		return err
	}
	inv := t.invocation
	inv.Name = opts.name
	var err error
	if inv.Parameters, err = opts.parameters.read(ctx, c.in); err != nil {
		return err
	}
	if opts.requirements != "" {
		text, err := readInput(ctx, opts.requirements, c.in)
		if err != nil {
			return err
		}
		inv.Dependencies = string(text)
	}
	files, err := bundle.Collect(ctx, t.base, opts.include, t.collect)
	if err != nil {
		return err
	}
	c.warnCollected(files)
	opts.warnOwnOutput(c, t, files)
	r := &report{runtime: inv.Runtime, entrypoint: inv.Entrypoint, command: inv.Command, sensitive: files.Sensitive, collection: files}
	if err := opts.build(ctx, c, r, inv, t); err != nil {
		return err
	}
	if opts.writeLock != "" {
		if err := bundle.NewLock(r.digest, r.manifest).WriteFile(opts.writeLock); err != nil {
			return err
		}
	}
	if c.json {
		return c.writeJSON(r.writeJSON)
	}
	return c.print(func(w *bufio.Writer) { r.writeText(w, c.outStyled, r.document == "") })
}

// check refuses what the flags together cannot mean.
func (o *buildOptions) check(t *target) error {
	switch {
	case o.out != "" && o.dryRun:
		return usagef("", "both --out and --dry-run")
	case o.out == "" && !o.dryRun && o.writeLock == "":
		return usagef("--out DIR writes a bundle, --dry-run shows what it would hold", "nothing to do without --out, --dry-run or --write-lock")
	case o.out != "" && t.invocation.Runtime == "":
		return usagef("name a flow, path/flow.py:name or path/dir:name, or a command after --; --dry-run needs neither", "--out without an ENTRYPOINT or a COMMAND: the bundle would call nothing")
	}
	return nil
}

// warnOwnOutput notices that a bundle is about to hold the one before it, or its lock file:
// then each build differs from the last.
func (o *buildOptions) warnOwnOutput(c *console, t *target, files *bundle.Collection) {
	own := map[string]string{} // what this command writes → the pattern that leaves it out
	if rel, err := bundle.Below(t.base, o.writeLock); err == nil && o.writeLock != "" {
		own[rel] = rel
	}
	if rel, err := bundle.Below(t.base, filepath.Join(o.out, "bundle.json")); err == nil && o.out != "" {
		own[rel] = rel
		if dir := path.Dir(rel); dir != "." {
			own[rel] = dir + "/"
		}
	}
	for i := range files.Files {
		if pattern, ok := own[files.Files[i].Path]; ok {
			c.warn("%s is packed, too, and this command writes it; leave it out: --include '!/%s'", shown(files.Files[i].Path), shown(pattern))
		}
	}
}

// build packs into --out or, without, only hashes.
func (o *buildOptions) build(ctx context.Context, c *console, r *report, inv bundle.Invocation, t *target) error {
	if o.out == "" {
		p := c.startProgress("hashing", r.collection.TotalSize())
		defer p.stop()
		var err error
		r.manifest, err = bundle.Hash(ctx, r.collection, &bundle.HashOptions{Cache: statCache(o.noCache), Progress: p.add})
		return err
	}
	options := &bundle.BuildOptions{Cache: statCache(o.noCache)}
	if t.program != "" {
		program, err := buildProgram(ctx, c, t, launch.Host())
		if err != nil {
			return err
		}
		inv.Program, options.Program = &bundle.Program{OS: program.OS, Arch: program.Arch}, program.Path
	}
	p := c.startProgress("packing", r.collection.TotalSize())
	defer p.stop()
	options.Progress = p.add
	built, err := bundle.Build(ctx, r.collection, inv, o.out, options)
	if err != nil {
		return err
	}
	r.document, r.digest, r.manifest = built.DocumentPath, built.Digest, built.Manifest
	r.archiveSize = new(int64)
	if built.Archive != nil {
		*r.archiveSize = built.Archive.Size
	}
	return nil
}
