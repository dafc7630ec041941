package oci

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/flowship/flowship/bundle"
)

// executorPackage is the slim executor's.
const executorPackage = "github.com/flowship/flowship/cmd/flowship-executor"

// ErrNoExecutor: none was found for a platform; those that are given are other errors.
var ErrNoExecutor = errors.New("no executor")

// Executors finds the executor for a platform: one of those given; else the file
// flowship-executor-OS-ARCH beside this program; else what go builds of the version of flowship
// that this program is of, or that the module in the current directory has; else this program
// itself.
type Executors struct {
	// Given are programs, of which the first for the platform is taken, and no other.
	Given []string
	// Dir is where one may be built.
	Dir string
	// Beside is the directory in which others are looked for; "" is that of this program.
	Beside string
	// Tell, if not nil, is told which was taken.
	Tell func(platform Platform, path, origin string)
}

// Find is the Executor of [BuildOptions].
func (e *Executors) Find(ctx context.Context, p Platform) (string, error) {
	path, origin, err := e.find(ctx, p)
	if err == nil && e.Tell != nil {
		e.Tell(p, path, origin)
	}
	return path, err
}

func (e *Executors) find(ctx context.Context, p Platform) (path, origin string, err error) {
	if len(e.Given) > 0 {
		for _, file := range e.Given {
			err = checkExecutor(file, p)
			if err == nil {
				return file, "given", nil
			}
		}
		return "", "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", "", err
	}
	beside := e.Beside
	if beside == "" {
		beside = filepath.Dir(self)
	}
	name := "flowship-executor-" + p.OS + "-" + p.Arch + strings.TrimPrefix(p.Variant, "v")
	switch err := checkExecutor(filepath.Join(beside, name), p); {
	case err == nil:
		return filepath.Join(beside, name), "beside this program", nil
	case bundle.KindOf(err) != bundle.KindNotFound:
		return "", "", err
	}
	built, buildErr := e.build(ctx, p)
	switch {
	case buildErr == nil:
		return built, "built by go", nil
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	}
	err = checkExecutor(self, p)
	if err == nil {
		return self, "this program", nil
	}
	return "", "", fmt.Errorf("%w for %s: no %s, %w, %w", ErrNoExecutor, p, filepath.Join(beside, name), buildErr, err)
}

// checkExecutor refuses what cannot run on the platform without any library.
func checkExecutor(file string, p Platform) error {
	f, err := elf.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return &bundle.Error{Kind: bundle.KindNotFound, Path: file, Err: err}
	}
	if err != nil {
		return &bundle.Error{Kind: bundle.KindRefused, Path: file, Reason: "is no program for Linux"}
	}
	defer f.Close()
	if f.Machine != machines[p.Arch] {
		return &bundle.Error{Kind: bundle.KindRefused, Path: file, Reason: fmt.Sprintf("is a program for %s, not for %s", f.Machine, p)}
	}
	if slices.ContainsFunc(f.Progs, func(s *elf.Prog) bool { return s.Type == elf.PT_INTERP }) {
		return &bundle.Error{Kind: bundle.KindRefused, Path: file, Reason: "needs shared libraries: build it with CGO_ENABLED=0"}
	}
	return nil
}

var machines = map[string]elf.Machine{
	"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64, "loong64": elf.EM_LOONGARCH,
	"mips": elf.EM_MIPS, "mipsle": elf.EM_MIPS, "mips64": elf.EM_MIPS, "mips64le": elf.EM_MIPS, "ppc64": elf.EM_PPC64,
	"ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// build has go build the slim executor, if it knows which.
func (e *Executors) build(ctx context.Context, p Platform) (string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(e.Dir, "executor-")
	if err != nil {
		return "", err
	}
	env := []string{"CGO_ENABLED=0", "GOOS=" + p.OS, "GOARCH=" + p.Arch, "GOFLAGS="}
	if p.Arch == "arm" && p.Variant != "" {
		env = append(env, "GOARM="+strings.TrimPrefix(p.Variant, "v"))
	}
	flags := []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w"}
	out := filepath.Join(dir, "flowship-executor")
	if _, err := run(ctx, env, tool, "list", "-f", "{{.ImportPath}}", executorPackage); err == nil {
		args := append(append([]string{"build", "-o", out}, flags...), executorPackage)
		_, err := run(ctx, env, tool, args...)
		return out, err
	}
	version, err := ownVersion()
	if err != nil {
		return "", err
	}
	// The module's own version; for another platform, go install takes no GOBIN.
	cache, err := run(ctx, nil, tool, "env", "GOMODCACHE")
	if err != nil {
		return "", err
	}
	env = append(env, "GOPATH="+dir, "GOBIN=", "GOMODCACHE="+strings.TrimSpace(cache))
	if _, err := run(ctx, env, tool, append(append([]string{"install"}, flags...), executorPackage+"@"+version)...); err != nil {
		return "", err
	}
	for _, below := range []string{p.OS + "_" + p.Arch, ""} {
		file := filepath.Join(dir, "bin", below, "flowship-executor")
		if _, err := os.Stat(file); err == nil {
			return file, nil
		}
	}
	return "", errors.New("go install left no program")
}

// ownVersion is the released version that this program was built of.
func ownVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("this program does not know its version")
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if strings.HasPrefix(executorPackage, m.Path+"/") && m.Replace == nil && strings.HasPrefix(m.Version, "v") && !strings.Contains(m.Version, "+dirty") {
			return m.Version, nil
		}
	}
	return "", errors.New("this program was not built of a released version")
}

func run(ctx context.Context, env []string, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, oneLine(said.String()))
	}
	return out.String(), nil
}
