package infratest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// forever is a job that cleans up when it is told to end.
const forever = `trap 'echo cleaned; exit 5' INT TERM; echo ready; while :; do sleep 0.02; done`

// forever starts it, and returns when it can be stopped.
func (s *suite) forever(source string, args ...string) (*launch.Running, *Output) {
	s.Helper()
	out := &Output{}
	r := s.start(launch.Job{Command: script(source, args...), Stdout: out})
	s.until("the job is ready", out.Says("ready"))
	return r, out
}

func (s *suite) stop() {
	r, out := s.forever(forever)
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.Deadline)
	defer cancel()
	// It does not take the time that it is given.
	if err := r.Stop(ctx, time.Hour); err != nil {
		s.Error(err)
	}
	if exit := s.wait(r); exit.Code != 5 || out.String() != "ready\ncleaned\n" {
		s.Errorf("exit %+v, output %q", exit, out.String())
	}
}

// stopInsists: neither the job nor its children end of their own accord.
func (s *suite) stopInsists() {
	const stubborn = `trap '' INT TERM
		if [ -n "$1" ]; then mkfifo "$1"; (exec >"$1"; while :; do sleep 0.02; done) & fi
		echo ready; while :; do sleep 0.02; done`
	pipe := ""
	if s.opts.Shared != "" {
		dir, err := os.MkdirTemp(s.opts.Shared, "")
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { os.RemoveAll(dir) })
		pipe = filepath.Join(dir, "pipe")
	}
	r, _ := s.forever(stubborn, pipe)
	childEnded := make(chan error, 1)
	if pipe != "" {
		opened := make(chan bool)
		go func() { // ends when the child does
			f, err := os.Open(pipe)
			close(opened)
			if err == nil {
				_, err = io.Copy(io.Discard, f)
				f.Close()
			}
			childEnded <- err
		}()
		select {
		case <-opened:
		case <-time.After(s.opts.Deadline):
			s.Fatal("the child did not open the pipe")
		}
	}
	if err := r.Stop(s.ctx, 50*time.Millisecond); err != nil {
		s.Error(err)
	}
	if exit := s.wait(r); exit.Code != 137 {
		s.Errorf("exit %+v, want 137", exit)
	}
	if pipe == "" {
		return
	}
	select {
	case err := <-childEnded:
		if err != nil {
			s.Error(err)
		}
	case <-time.After(s.opts.Deadline):
		s.Error("a child outlives the job")
	}
}

func (s *suite) stopEnded() {
	r := s.start(launch.Job{Command: script("exit 6")})
	exit := s.wait(r)
	if err := r.Stop(s.ctx, time.Second); err != nil {
		s.Error(err)
	}
	if again := s.wait(r); exit != again || exit.Code != 6 {
		s.Errorf("exit %+v, after stopping it %+v", exit, again)
	}
}

func (s *suite) waitGivesUp() {
	r, _ := s.forever(forever)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(s.ctx)
	cancel(cause)
	if exit, err := r.Wait(ctx); !errors.Is(err, cause) || exit != nil {
		s.Errorf("it is %+v, %v", exit, err)
	}
	if err := r.Stop(s.ctx, time.Hour); err != nil {
		s.Error(err)
	}
	if exit := s.wait(r); exit.Code != 5 {
		s.Errorf("exit %+v: the job had not gone on", exit)
	}
}

func (s *suite) waiters() {
	r, _ := s.forever(forever)
	exits := make([]launch.Exit, 8)
	errs := make([]error, len(exits))
	var waiters sync.WaitGroup
	for i := range exits {
		waiters.Go(func() {
			exit, err := r.Wait(s.ctx)
			if errs[i] = err; err == nil {
				exits[i] = *exit
			}
		})
	}
	if err := r.Stop(s.ctx, time.Hour); err != nil {
		s.Error(err)
	}
	waiters.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
	want := make([]launch.Exit, len(exits))
	for i := range want {
		want[i] = s.wait(r)
	}
	if diff := cmp.Diff(want, exits); diff != "" || exits[0].Code != 5 {
		s.Errorf("exits (-now +then):\n%s", diff)
	}
}

func (s *suite) find() {
	r, _ := s.forever(forever)
	found, err := s.infra.Find(s.ctx, r.ID(), nil)
	if err != nil {
		s.Fatal(err)
	}
	if err := found.Stop(s.ctx, time.Hour); err != nil {
		s.Error(err)
	}
	if exit := s.wait(found); exit.Code != 5 {
		s.Errorf("exit %+v", exit)
	}
	for _, id := range []string{"", "nonesuch", "1", "-1", "../x"} {
		if _, err := s.infra.Find(s.ctx, id, nil); !errors.Is(err, launch.ErrNotFound) {
			s.Errorf("find %q: %v, want ErrNotFound", id, err)
		}
	}
}

func (s *suite) manyAtOnce() {
	const many = 16
	want := make([]int, many)
	got := make([]int, many)
	ids := map[string]bool{}
	var mu sync.Mutex
	var jobs sync.WaitGroup
	configuration := s.configure(nil)
	for i := range many {
		want[i] = 10 + i
		jobs.Go(func() {
			r, err := s.infra.Start(s.ctx, launch.Job{Configuration: configuration, Command: script("exit " + strconv.Itoa(10+i))})
			if err != nil {
				s.Error(err)
				return
			}
			mu.Lock()
			ids[r.ID()] = true
			mu.Unlock()
			exit, err := r.Wait(s.ctx)
			if err != nil {
				s.Error(err)
				return
			}
			got[i] = exit.Code
		})
	}
	jobs.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("exit codes (-want +got):\n%s", diff)
	}
	if len(ids) != many {
		s.Errorf("%d jobs have %d ids", many, len(ids))
	}
}
