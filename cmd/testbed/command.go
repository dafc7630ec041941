package main

import (
	"errors"
	"os"
	"os/exec"
	"time"

	"golang.org/x/term"
)

// runCommand runs the command with the variables added to its environment, passes signals on, and returns its exit code.
//
// The command gets a process group of its own, of which nothing is left behind. Only on a terminal it stays in testbed's group: there the
// terminal itself sends Ctrl-C to both, and a command in another group could not read what is typed.
func runCommand(args, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	group := !term.IsTerminal(int(os.Stdin.Fd()))
	if group {
		ownGroup(cmd)
	}
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = cmd.Wait()
	}()
	for running := true; running; {
		select {
		case s := <-signals:
			if group {
				signalGroup(cmd.Process, s)
			} else {
				cmd.Process.Signal(s)
			}
		case <-done:
			running = false
		}
	}
	if group {
		stopGroup(cmd.Process, done, 2*time.Second)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ProcessState), nil
	} else if err != nil {
		return 1, err
	}
	return 0, nil
}
