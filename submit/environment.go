package submit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/bundle"
)

// here is the environment of this process, which all its flows and futures share: what is opened
// for one of them serves the others.
var here environment

// environment opens the clients that the environment describes, as the command line does, when
// they are first needed. Their executor is this program.
type environment struct {
	program ownProgram

	mu      sync.Mutex
	opts    MainOptions
	clients map[string]*Client // by state directory and address of the server
}

// set says what the program knows; clients that are open already do not.
func (e *environment) set(opts MainOptions) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opts = opts
}

// client returns the client for what the environment says now. It stays open: futures hold on to
// it.
func (e *environment) client(ctx context.Context) (*Client, error) {
	home := os.Getenv(envHome)
	state, err := StateDir(home)
	if err != nil {
		return nil, err
	}
	settings, err := PrefectSettings()
	if err != nil {
		return nil, err
	}
	if settings != nil {
		state += "\x00" + settings.APIURL
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.clients[state]; c != nil {
		return c, nil
	}
	c, err := OpenClient(ctx, &ClientOptions{Home: home, Prefect: settings, Infrastructures: e.opts.Infrastructures, Storage: e.opts.Storage})
	if err != nil {
		return nil, err
	}
	c.itself = true
	if e.clients == nil {
		e.clients = map[string]*Client{}
	}
	e.clients[state] = c
	return c, nil
}

// keptFor is how long the copy of a program is kept when nobody uses it any more.
const keptFor = 30 * 24 * time.Hour

// OwnExecutor returns the [ClientOptions.Executor] for a program that calls [Main]: the program
// itself. It is copied below the state directory of the home first, once for each of its
// contents, because what "go run" and "go test" build is gone when they end, but launchers may
// still need it. A copy that has not been used for a month is removed.
func OwnExecutor(ctx context.Context, home string) ([]string, error) {
	state, err := StateDir(home)
	if err != nil {
		return nil, err
	}
	copies := filepath.Join(state, "executors")
	if own, err := os.Executable(); err == nil && filepath.Dir(filepath.Dir(own)) == copies {
		return []string{own, "step"}, nil
	}
	path, err := runningProgram()
	if err != nil {
		return nil, err
	}
	bytes, err := hashFile(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read this program: %w", err)
	}
	name := "program"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	kept := filepath.Join(copies, bytes.SHA256.Hex(), name)
	now := time.Now()
	if err := os.Chtimes(filepath.Dir(kept), now, now); err == nil {
		if info, err := os.Stat(kept); err == nil && info.Size() == bytes.Size {
			return []string{kept, "step"}, nil
		}
	}
	removeOlder(copies, "", now.Add(-keptFor))
	if err := copyProgram(ctx, path, kept); err != nil {
		return nil, fmt.Errorf("copy this program: %w", err)
	}
	return []string{kept, "step"}, nil
}

// removeOlder removes what begins with the prefix and was last written before the moment.
// Nothing depends on it.
func removeOlder(dir, prefix string, before time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) && info.ModTime().Before(before) {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// runningProgram is the path of this program's own file. On Linux the file can be read also
// when it was removed.
func runningProgram() (string, error) {
	if runtime.GOOS == "linux" {
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			return "/proc/self/exe", nil
		}
	}
	return os.Executable()
}

// hashFile identifies the bytes of a file.
func hashFile(ctx context.Context, path string) (*bundle.Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, bundle.ReaderWith(ctx, f))
	if err != nil {
		return nil, err
	}
	return &bundle.Archive{SHA256: bundle.Digest(h.Sum(nil)), Size: size}, nil
}

// ownProgram is this program's file, of which the bytes are read once: programs are large, and
// flows may be submitted by the hundred.
type ownProgram struct {
	mu    sync.Mutex
	file  os.FileInfo
	bytes *bundle.Archive
}

// identify returns the path and what is there.
func (o *ownProgram) identify(ctx context.Context) (string, *bundle.Archive, error) {
	path, err := runningProgram()
	if err != nil {
		return "", nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	file, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if o.bytes == nil || file.Size() != o.file.Size() || !file.ModTime().Equal(o.file.ModTime()) || !os.SameFile(file, o.file) {
		if o.bytes, err = hashFile(ctx, path); err != nil {
			return "", nil, err
		}
		o.file = file
	}
	return path, o.bytes, nil
}

func copyProgram(ctx context.Context, from, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), ".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(out.Name())
		}
	}()
	_, err = io.Copy(out, bundle.ReaderWith(ctx, in))
	if err := errors.Join(err, out.Chmod(0o700), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}
