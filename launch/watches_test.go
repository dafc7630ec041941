package launch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/flowship/flowship/launch"
)

// scene lets a test say how the watches of a job end.
type scene struct {
	begun chan string
	ends  chan func() (*launch.Exit, error, bool)
}

func newScene(t *testing.T) (*scene, *launch.Watches[string]) {
	s := &scene{begun: make(chan string), ends: make(chan func() (*launch.Exit, error, bool))}
	w := launch.NewWatches(func(ctx context.Context, id, job string) (*launch.Exit, error, bool) {
		select {
		case s.begun <- id + " " + job:
		case <-ctx.Done():
			return nil, context.Cause(ctx), false
		}
		select {
		case end := <-s.ends:
			return end()
		case <-ctx.Done():
			return nil, context.Cause(ctx), false
		}
	})
	t.Cleanup(w.Close)
	return s, w
}

func exits(code int) func() (*launch.Exit, error, bool) {
	return func() (*launch.Exit, error, bool) { return &launch.Exit{Code: code}, nil, true }
}

func TestWatchesWatchOnce(t *testing.T) {
	s, w := newScene(t)
	if job := w.Add("a", "first"); job != "first" {
		t.Errorf("job %q", job)
	}
	if job := w.Add("a", "second"); job != "first" {
		t.Errorf("job %q", job)
	}
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			if exit, err := w.Wait(t.Context(), "a"); err != nil || exit.Code != 7 {
				t.Errorf("%v, %v", exit, err)
			}
		})
	}
	if begun := <-s.begun; begun != "a first" {
		t.Errorf("begun %q", begun)
	}
	if w.Ended("a") || len(w.UnderWay()) != 1 {
		t.Error("it has ended already")
	}
	s.ends <- exits(7)
	waiting.Wait() // a second watch would wait for ever
	if !w.Ended("a") || len(w.UnderWay()) != 0 {
		t.Error("it has not ended")
	}
	// What is known is told even to who has no time to wait.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if exit, err := w.Wait(over, "a"); err != nil || exit.Code != 7 {
		t.Errorf("%v, %v", exit, err)
	}
}

func TestWatchesWatchAgain(t *testing.T) {
	s, w := newScene(t)
	w.Add("a", "job")
	lost := errors.New("nobody knows")
	if err := w.Begin("a"); err != nil {
		t.Fatal(err)
	}
	<-s.begun
	s.ends <- func() (*launch.Exit, error, bool) { return nil, lost, false }
	for ended := false; !ended; { // the first wait may still see the first watch
		waiting, cancel := context.WithCancel(t.Context())
		var second sync.WaitGroup
		second.Go(func() {
			select {
			case <-s.begun:
				s.ends <- exits(0)
			case <-waiting.Done():
			}
		})
		exit, err := w.Wait(t.Context(), "a")
		cancel()
		second.Wait()
		if ended = exit != nil; !ended && !errors.Is(err, lost) {
			t.Fatal(err)
		}
	}
}

func TestWatchesForget(t *testing.T) {
	s, w := newScene(t)
	const many = 300
	go func() {
		for range many {
			<-s.begun
			s.ends <- exits(0)
		}
	}()
	for i := range many {
		id := fmt.Sprint(i)
		w.Add(id, "")
		if _, err := w.Wait(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	w.Add("waiting", "")
	if _, known := w.Job("0"); known {
		t.Error("the first is not forgotten")
	}
	for _, id := range []string{fmt.Sprint(many - 1), "waiting"} {
		if _, known := w.Job(id); !known {
			t.Errorf("%s is forgotten", id)
		}
	}
	if _, err := w.Wait(t.Context(), "0"); !errors.Is(err, launch.ErrNotFound) {
		t.Error(err)
	}
}

func TestWatchesClose(t *testing.T) {
	s, w := newScene(t)
	w.Add("a", "")
	w.Add("b", "")
	ended := make(chan error)
	go func() {
		_, err := w.Wait(context.Background(), "a")
		ended <- err
	}()
	<-s.begun
	w.Close()
	if err := <-ended; err == nil || err.Error() != w.Err().Error() {
		t.Errorf("the waiting ended with %v", err)
	}
	if _, err := w.Wait(t.Context(), "b"); err == nil {
		t.Error("a watch began after the end")
	}
}

// Who waited for a job that another one replaces waits for that.
func TestWatchesReplace(t *testing.T) {
	s, w := newScene(t)
	w.Add("a", "old")
	ended := make(chan *launch.Exit)
	go func() {
		exit, err := w.Wait(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		ended <- exit
	}()
	<-s.begun
	w.Replace("a", "new") // the watch of the old one ends with its context
	if job, _ := w.Job("a"); job != "new" {
		t.Errorf("job %q", job)
	}
	if begun := <-s.begun; begun != "a new" {
		t.Errorf("begun %q", begun)
	}
	s.ends <- exits(3)
	if exit := <-ended; exit == nil || exit.Code != 3 {
		t.Errorf("%+v", exit)
	}
}

// However many wait, and begin to watch again what has not ended for good, each is told something.
func TestWatchesTellAll(t *testing.T) {
	lost := errors.New("nobody knows")
	w := launch.NewWatches(func(context.Context, string, string) (*launch.Exit, error, bool) { return nil, lost, false })
	t.Cleanup(w.Close)
	w.Add("a", "")
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			for range 500 {
				if exit, err := w.Wait(t.Context(), "a"); exit != nil || !errors.Is(err, lost) {
					t.Errorf("exit %+v, %v", exit, err)
					return
				}
			}
		})
	}
	waiting.Wait()
}

// A watch has ended before that begins of a job which came after two.
func TestWatchesReplaceTwice(t *testing.T) {
	begun, end := make(chan string, 1), make(chan struct{})
	w := launch.NewWatches(func(ctx context.Context, _, job string) (*launch.Exit, error, bool) {
		begun <- job
		if job != "first" {
			return &launch.Exit{}, nil, true
		}
		<-ctx.Done()
		<-end // it takes its time
		return nil, context.Cause(ctx), false
	})
	t.Cleanup(w.Close)
	w.Add("a", "first")
	if err := w.Begin("a"); err != nil {
		t.Fatal(err)
	}
	<-begun
	w.Replace("a", "second")
	w.Replace("a", "third")
	over, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if exit, err := w.Wait(over, "a"); err == nil {
		t.Errorf("exit %+v beside the first watch", exit)
	}
	close(end)
	if exit, err := w.Wait(t.Context(), "a"); exit == nil || err != nil {
		t.Errorf("%+v, %v", exit, err)
	}
	if job := <-begun; job != "third" {
		t.Errorf("begun %q", job)
	}
}
