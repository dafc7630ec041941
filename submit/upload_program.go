package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// sendProgram stores the Go program, unless it is there already.
func (u *upload) sendProgram(ctx context.Context) error {
	what := u.Invocation.Program.known
	if what == nil {
		var err error
		if what, err = hashFile(ctx, u.Program.Path); err != nil {
			return fmt.Errorf("submit: program: %w", err)
		}
	}
	digest, size := what.SHA256, what.Size
	u.program = &bundle.Program{Key: bundle.ProgramKey(digest), OS: u.Invocation.Program.OS, Arch: u.Invocation.Program.Arch}
	damaged := false
	if known := u.recall(digest); known == nil || *known != *what {
		// Not stored or proven by this home: where the store keeps no digest, or was doubted,
		// what is there is read once.
		object, err := u.identify(ctx, u.program.Key, u.doubted(digest))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("submit: %w", err)
		}
		damaged = err == nil && (object.SHA256 != digest || object.Size != size)
	}
	sent, err := u.put(ctx, u.program.Key, u.Program.Path, what, damaged)
	if errors.Is(err, storage.ErrConflict) { // cut off since it was proven
		sent, err = u.put(ctx, u.program.Key, u.Program.Path, what, true)
	}
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if sent {
		u.run.Bundle.UploadedBytes += size
	} else {
		u.run.Bundle.ReusedBytes += size
	}
	return u.remember(digest, what)
}

// identify returns which bytes an object has. They are read where the store does not say, or is
// not to be believed.
func (u *upload) identify(ctx context.Context, key string, doubted bool) (*bundle.Archive, error) {
	object, err := u.bucket.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if object.SHA256 != (storage.Digest{}) && !doubted {
		return &bundle.Archive{SHA256: object.SHA256, Size: object.Size}, nil
	}
	path := filepath.Join(u.tmp, "stored")
	defer os.Remove(path)
	if err := u.bucket.Get(ctx, key, path, nil); err != nil {
		return nil, err
	}
	return hashFile(ctx, path)
}

// Longest time that a program may take to look at its parameters.
const checkTime = time.Minute

// checkParameters asks the Go program whether it has the flow, and whether the parameters fit it,
// if it is a program for this machine.
func (s *submission) checkParameters(ctx context.Context) error {
	p := s.Invocation.Program
	if p == nil || s.Checked || p.OS != runtime.GOOS || p.Arch != runtime.GOARCH {
		return nil
	}
	tmp, remove, err := s.temporary()
	if err != nil {
		return err
	}
	defer remove()
	parameters, failure := filepath.Join(tmp, "parameters.json"), filepath.Join(tmp, "failure")
	text := []byte(s.Parameters)
	if text == nil {
		text = []byte("{}")
	}
	if err := os.WriteFile(parameters, text, 0o600); err != nil {
		return err
	}
	path, err := filepath.Abs(p.Path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "FLOWSHIP_CHECK=1", "FLOWSHIP_FLOW="+s.flowName(), "FLOWSHIP_PARAMETERS_FILE="+parameters, "FLOWSHIP_FAILURE="+failure)
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if why, readErr := os.ReadFile(failure); readErr == nil {
		return &InvalidError{string(why)}
	}
	return fmt.Errorf("ask the program about its flow %q: %w: %s", s.flowName(), err, strings.TrimSpace(string(output[:min(len(output), 1000)])))
}
