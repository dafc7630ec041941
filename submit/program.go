package submit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/launch"
)

// BuildOptions are the options of [BuildProgram]; nil is the default.
type BuildOptions struct {
	OS, Arch string    // that the program shall run on; "" is this one's
	Stderr   io.Writer // gets what the compiler prints, as it comes; nil: nobody
	Cache    string    // directory for executables; "" is that of [CacheDir] for FLOWSHIP_HOME
}

// BuildProgram builds the package main in the directory for another place to run: without cgo,
// and so that the same source, dependencies and compiler give the same bytes, wherever the
// source is. Of a file main.go it builds the directory. It is go that builds; what the package
// needs has to be there as for "go build".
//
// An error of the compiler holds what it printed. Of each directory and platform the latest
// executable is kept, so that nobody has to remove it.
func BuildProgram(ctx context.Context, dir string, opts *BuildOptions) (*Program, error) {
	if opts == nil {
		opts = &BuildOptions{}
	}
	p, err := buildProgram(ctx, dir, *opts)
	if err != nil {
		return nil, fmt.Errorf("submit: build %q: %w", dir, err)
	}
	return p, nil
}

// building begins the names of directories that executables are built in.
const building = ".build-"

func buildProgram(ctx context.Context, dir string, opts BuildOptions) (*Program, error) {
	if opts.OS == "" {
		opts.OS = runtime.GOOS
	}
	if opts.Arch == "" {
		opts.Arch = runtime.GOARCH
	}
	if filepath.Ext(dir) == ".go" {
		dir = filepath.Dir(dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &InvalidError{"it is neither a directory nor a file of Go"}
	}
	if opts.Cache == "" {
		if opts.Cache, err = CacheDir(os.Getenv(envHome)); err != nil {
			return nil, err
		}
	}
	place := filepath.Join(opts.Cache, "programs", fmt.Sprintf("%x", sha256.Sum256([]byte(dir)))[:16]+"-"+opts.OS+"-"+opts.Arch)
	if err := os.MkdirAll(place, 0o700); err != nil {
		return nil, err
	}
	// Go names the executable, and refuses what is no program, when it is told a directory.
	removeOlder(place, building, time.Now().Add(-stale))
	out, err := os.MkdirTemp(place, building)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(out)
	lend(place, out)
	if err := goBuild(ctx, dir, out, opts); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return nil, err
	}
	if len(entries) != 1 {
		return nil, errors.New("go build left no program")
	}
	path := filepath.Join(place, entries[0].Name())
	if err := os.Rename(filepath.Join(out, entries[0].Name()), path); err != nil {
		return nil, err
	}
	return &Program{Path: path, OS: opts.OS, Arch: opts.Arch}, nil
}

// lend shows go the latest executable. If that is up to date, it need not be linked again; else
// go puts another file in its place, and leaves this one as it is.
func lend(place, out string) {
	entries, err := os.ReadDir(place)
	if err != nil || runtime.GOOS == "windows" {
		return
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			os.Link(filepath.Join(place, e.Name()), filepath.Join(out, e.Name())) // it only saves time
		}
	}
}

// goBuild runs the compiler.
func goBuild(ctx context.Context, dir, out string, opts BuildOptions) error {
	path, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("it takes Go to build a program: %w", err)
	}
	var printed bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "build", "-trimpath", "-buildvcs=false", "-o", out+string(filepath.Separator), ".")
	cmd.Dir, cmd.Env = dir, buildEnviron(os.Environ(), opts.OS, opts.Arch)
	cmd.Stdout = &printed
	if opts.Stderr != nil {
		cmd.Stdout = io.MultiWriter(&printed, opts.Stderr)
	}
	cmd.Stderr = cmd.Stdout
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return endOf(ctx)
	}
	return fmt.Errorf("go build for %s/%s: %w\n%s", opts.OS, opts.Arch, err, bytes.TrimRight(printed.Bytes(), "\n"))
}

// buildEnviron is the environment for a compiler that is to depend on the source alone.
func buildEnviron(environ []string, system, arch string) []string {
	// Of an empty variable go would take what "go env -w" has stored.
	flags := "-trimpath -buildvcs=false"
	env := slices.DeleteFunc(slices.Clone(environ), func(s string) bool {
		name, value, _ := strings.Cut(s, "=")
		switch name {
		case "GOFLAGS":
			for _, flag := range strings.Fields(value) {
				name, _, _ := strings.Cut(strings.TrimLeft(flag, "-"), "=")
				if slices.Contains([]string{"mod", "modfile", "modcacherw", "p"}, name) { // where from and how, not what
					flags += " " + flag
				}
			}
			return true
		case "GOOS", "GOARCH", "CGO_ENABLED", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOARM":
			return true
		}
		return false
	})
	return append(env, "GOFLAGS="+flags, "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
}

// program is the executable that runs the flow on a platform: this very program where that will do,
// else one built from the same source.
func (d *definition) program(ctx context.Context, platform launch.Platform) (*Program, error) {
	if platform == launch.Host() {
		path, bytes, err := here.program.identify(ctx)
		if err != nil {
			return nil, fmt.Errorf("read this program: %w", err)
		}
		return &Program{Path: path, OS: platform.OS, Arch: platform.Arch, known: bytes}, nil
	}
	dir, err := d.mainDir(ctx)
	if err != nil {
		return nil, err
	}
	return BuildProgram(ctx, dir, &BuildOptions{OS: platform.OS, Arch: platform.Arch})
}

// mainDir is the directory of the source of this program's package main: where Main is called
// or, should the compiler have trimmed the path, where go finds the package from here.
func (d *definition) mainDir(ctx context.Context) (string, error) {
	file := *d.main.Load()
	if strings.HasSuffix(file, "_test.go") {
		return "", &InvalidError{"a test program cannot be built for another platform"}
	}
	if filepath.IsAbs(file) {
		return filepath.Dir(file), nil
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("the program does not know which package it was built from")
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", info.Path).Output()
	if err != nil {
		return "", fmt.Errorf("find the source of package %q from the working directory: %w", info.Path, err)
	}
	return strings.TrimSpace(string(out)), nil
}
