package execute

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// reason is why the program was stopped.
type reason int

const (
	notStopped reason = iota
	timedOut          // it ran too long
	hungUp            // who started the executor is gone
	givenUp           // the context ended
	cancelled         // the run is being cancelled
	evicted           // the executor has to go, the run is somebody else's to run again
	leaseLost         // others have ended the run
)

// process is the program while it runs.
type process struct {
	*execution
	cmd *exec.Cmd
}

// wait waits for the program to end, and passes on to it what it has to hear.
func (p *process) wait(ctx context.Context) reason {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.cmd.Wait() // its ProcessState says more than its error
	}()
	var (
		timeout <-chan time.Time
		next    <-chan time.Time // when to send ladder[0]
		ladder  []os.Signal
		late    <-chan time.Time // when to pass on what the group has got
		passed  []os.Signal
		why     reason
	)
	if p.flowRun.Timeout > 0 {
		timer := time.NewTimer(seconds(p.flowRun.Timeout))
		defer timer.Stop()
		timeout = timer.C
	}
	step := func() {
		p.send(ladder[0])
		if ladder, next = ladder[1:], nil; len(ladder) > 0 {
			next = time.After(p.Grace)
		}
	}
	stop := func(r reason, signals ...os.Signal) {
		why, ladder, timeout = r, signals, nil
		step()
	}
	early := len(p.Signals) // came before the command was there
	done := ctx.Done()
	for {
		select {
		case <-ended:
			p.clear()
			return why
		case <-timeout:
			stop(timedOut, syscall.SIGTERM, os.Kill)
		case <-done:
			done = nil
			switch {
			case why != notStopped:
			case p.heard != nil: // it was asked to end, and is given its time
				why, ladder, timeout, next = givenUp, []os.Signal{syscall.SIGTERM, os.Kill}, nil, time.After(p.Grace)
			default:
				stop(givenUp, os.Interrupt, syscall.SIGTERM, os.Kill)
			}
		case s := <-p.Signals:
			early--
			if x := p.execution; x.heard == nil && ends(s) {
				x.heard = s
			}
			switch {
			case why != notStopped: // it is being stopped; in a group this may be our own signal
			case s == syscall.SIGHUP && p.Grouped:
				stop(hungUp, syscall.SIGTERM, os.Kill)
			case p.Grouped && early >= 0:
				p.cmd.Process.Signal(s)
			case p.Grouped:
				if passed = append(passed, s); late == nil {
					late = time.After(strayDelay)
				}
			default:
				p.send(s)
			}
		case <-next:
			step()
		case <-late:
			for _, s := range passed {
				p.sendStray(s)
			}
			passed, late = nil, nil
		}
	}
}

// strayDelay gives a command that leaves the group the time to do so.
const strayDelay = 100 * time.Millisecond
