package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// cacheDir is where installed servers stay.
func cacheDir() (string, error) {
	dir := os.Getenv("FLOWSHIP_TESTBED_DIR")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place to keep what is installed: %w; set FLOWSHIP_TESTBED_DIR", err)
		}
		dir = filepath.Join(user, "flowship-testbed")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// installed returns the directory <cache>/key, which build has filled; only the first of all testbeds with this key builds it, the others
// wait for that. The directory counts only with its mark in it, which is made last: what an interrupted build has left is removed. It is
// not renamed into place, because Python's environments know their own path.
func (p *place) installed(ctx context.Context, key string, build func(dir string) error) (string, error) {
	dir := filepath.Join(p.cache, key)
	mark := filepath.Join(dir, ".complete")
	if _, err := os.Stat(mark); err == nil {
		return dir, nil
	}
	unlock, err := lock(ctx, dir+".lock", func() { p.say("waiting for another testbed, which installs %s", key) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	start := time.Now()
	p.say("installing %s in %s", p.name, dir)
	if err := build(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return "", err
	}
	p.say("installed %s in %.1fs", p.name, time.Since(start).Seconds())
	return dir, nil
}

// goProgram installs a program from its module, module/path@version, and returns its path.
func (p *place) goProgram(ctx context.Context, module string) (string, error) {
	source, version, _ := strings.Cut(module, "@")
	name := path.Base(source)
	dir, err := p.installed(ctx, name+"-"+version, func(dir string) error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		_, err := tool(ctx, []string{"GOBIN=" + dir, "GOFLAGS=-trimpath", "GOOS=", "GOARCH=", "CGO_ENABLED=0"}, "go", "install", module)
		return err
	})
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(dir, name), err
}

// canAptInstall reports whether this is a Debian where packages may be installed.
func canAptInstall() bool {
	_, err := os.Stat("/etc/debian_version")
	return err == nil && os.Geteuid() == 0
}

// aptInstall installs Debian packages; only one testbed at a time does.
func (p *place) aptInstall(ctx context.Context, packages ...string) error {
	unlock, err := lock(ctx, filepath.Join(p.cache, "apt.lock"), func() { p.say("waiting for another apt-get") })
	if err != nil {
		return err
	}
	defer unlock()
	p.say("installing %s with apt-get", strings.Join(packages, ", "))
	quiet := []string{"DEBIAN_FRONTEND=noninteractive"}
	if _, err := tool(ctx, quiet, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err = tool(ctx, quiet, "apt-get", append([]string{"install", "-yqq", "--no-install-recommends"}, packages...)...)
	return err
}

// debianPackage returns a directory with the files of a Debian package, which is not installed.
func (p *place) debianPackage(ctx context.Context, name string) (string, error) {
	if _, err := os.Stat("/etc/debian_version"); err != nil {
		return "", &unavailableError{fmt.Sprintf("it takes the Debian package %s, and this is no Debian", name)}
	}
	return p.installed(ctx, name, func(dir string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// As any other user, apt-get could not read the cache directory.
		download := []string{"-c", `cd "$1" && apt-get download -qq -o APT::Sandbox::User=root "$2"`, "sh", dir, name}
		if _, err := tool(ctx, nil, "sh", download...); err != nil {
			if !canAptInstall() {
				return err
			}
			if _, err := tool(ctx, nil, "apt-get", "update", "-qq"); err != nil {
				return err
			}
			if _, err := tool(ctx, nil, "sh", download...); err != nil {
				return err
			}
		}
		packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(packages) != 1 {
			return errors.Join(fmt.Errorf("apt-get downloaded %q", packages), err)
		}
		_, err = tool(ctx, nil, "dpkg-deb", "-x", packages[0], dir)
		return err
	})
}

// lock waits until this process alone holds the lock on a file; the file remains.
func lock(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		ok, err := tryLock(f)
		switch {
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("lock %q: %w", name, err)
		case ok:
			return func() { f.Close() }, nil
		case first:
			waiting()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// tool runs a program to its end and returns its standard output. What it wrote on standard error is part of the error.
func tool(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return signalGroup(cmd.Process, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, bytes.TrimSpace(log.Bytes()))
	}
	return out.Bytes(), nil
}
