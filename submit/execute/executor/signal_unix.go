//go:build unix

package executor

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// notifyHangup has the channel told when who launched the process is gone. A hangup that was
// ignored from the start, by nohup, stays ignored.
func notifyHangup(c chan<- os.Signal) {
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(c, syscall.SIGHUP)
	}
}

// endGroup ends the other processes of the group. Where it cannot find out whether there are
// any left, it ends this one with them.
func endGroup(grace time.Duration) {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM) // for this process is one of the group
	defer signal.Stop(terminated)
	syscall.Kill(0, syscall.SIGTERM)
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !alone() {
		select {
		case <-tick.C:
		case <-deadline.C:
			syscall.Kill(0, syscall.SIGKILL)
		}
	}
}
