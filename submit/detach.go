package submit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// detach leaves a process behind that launches the run and looks after it, and returns when the
// infrastructure has accepted the job. The caller's lease on the run ends with that.
func (c *Client) detach(ctx context.Context, runs backend, id string, lease orchestrator.Lease) (err error) {
	// Whatever happens to the caller, the run must not be left to nobody.
	whole := context.WithoutCancel(ctx)
	held, stopKeeping := orchestrator.Keep(whole, runs, lease)
	defer stopKeeping()
	accepted, err := c.startLauncher(held, id)
	if err == nil && !accepted {
		err = errors.New("the process that was to launch the run ended at once")
	}
	if err != nil {
		// Unless it has ended the run, we do.
		return &LaunchError{ID: id, Err: fmt.Errorf("submit: %w", errors.Join(err, endUnlaunched(whole, runs, id, "the run could not be launched", err)))}
	}
	if err := runs.Release(whole, lease); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}

// endUnlaunched ends a run that nobody has launched, or will.
func endUnlaunched(ctx context.Context, runs backend, id, what string, cause error) error {
	state := orchestrator.NewState(orchestrator.TypeCrashed, what+": "+cause.Error())
	return execute.NotRun(id, state, execute.ExitUnavailable).Settle(ctx, "", runs, nil)
}

// notice is the one line that the launching process says to who started it.
type notice struct {
	Accepted bool   `json:"accepted"`
	Error    string `json:"error"`
}

// startLauncher starts the process and hears what it says.
func (c *Client) startLauncher(ctx context.Context, id string) (accepted bool, err error) {
	path, err := exec.LookPath(c.executor[0])
	if err != nil {
		return false, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return false, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	env := append(os.Environ(), c.environ(id, orchestrator.Lease{})...)
	if c.onPrefect() {
		env = append(env, c.prefect.Environ(c.prefect.CertFile)...)
	}
	cmd := &exec.Cmd{Path: path, Args: slices.Concat(c.executor, []string{"launch", "--id", id}), Stdout: w, Env: env}
	detached(cmd)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return false, err
	}
	// The process outlives this call, and may outlive this program. If not, somebody has to take
	// note of its end, or the system would remember it as long as this program lives.
	go cmd.Wait()
	heard := make(chan struct{})
	var said notice
	go func() {
		defer close(heard)
		line, _ := bufio.NewReader(io.LimitReader(r, 1<<20)).ReadBytes('\n')
		if json.Unmarshal(line, &said) != nil {
			said = notice{}
		}
	}()
	select {
	case <-heard:
	case <-ctx.Done(): // the run was ended by somebody
		r.Close()
		<-heard
		return false, context.Cause(ctx)
	}
	if said.Error != "" {
		return false, errors.New(said.Error)
	}
	return said.Accepted, nil
}

// LaunchDetached is the whole of the process that [Client.Submit] leaves behind: it is
// [Client.Launch] with one line to w when the infrastructure has accepted the job, or why it has
// not.
func (c *Client) LaunchDetached(ctx context.Context, id string, w io.WriteCloser) error {
	told := false
	tell := func(n notice) {
		if !told {
			told = true
			json.NewEncoder(w).Encode(n) // who wants to know reads it; else the run's state tells
			w.Close()
		}
	}
	err := c.Launch(ctx, id, func() { tell(notice{Accepted: true}) })
	if err != nil {
		tell(notice{Error: strings.TrimPrefix(err.Error(), "submit: ")})
	} else {
		tell(notice{Accepted: true}) // it ended before it was launched, and its state says how
	}
	return err
}
