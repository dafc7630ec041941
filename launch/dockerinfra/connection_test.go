package dockerinfra_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// wire is a socket before the engine's, whose connections can be cut.
type wire struct {
	host     string
	listener net.Listener
	to       string

	mu    sync.Mutex
	open  []net.Conn
	off   bool
	taken int // connections so far
	done  sync.WaitGroup
}

func newWire(t *testing.T, host string) *wire {
	t.Helper()
	to, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		t.Skip("needs an engine on a Unix socket")
	}
	dir, err := os.MkdirTemp("", "wire") // the names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &wire{host: "unix://" + filepath.Join(dir, "s"), to: to}
	if w.listener, err = net.Listen("unix", filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	w.done.Go(w.serve)
	t.Cleanup(func() {
		w.listener.Close()
		w.cut(true)
		w.done.Wait()
	})
	return w
}

func (w *wire) serve() {
	for {
		from, err := w.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("unix", w.to)
		w.mu.Lock()
		if err != nil || w.off {
			from.Close()
			if to != nil {
				to.Close()
			}
			w.mu.Unlock()
			continue
		}
		w.open = append(w.open, from, to)
		w.taken++
		w.mu.Unlock()
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			w.done.Go(func() {
				io.Copy(pair[0], pair[1])
				pair[0].(*net.UnixConn).CloseWrite()
			})
		}
	}
}

// cut breaks all connections, and with off those to come.
func (w *wire) cut(off bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off = off
	for _, c := range w.open {
		c.Close()
	}
	w.open = nil
}

func (w *wire) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.taken
}

// Wherever connections break while a job writes, its output arrives once, and so does its exit.
func TestCut(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run(fmt.Sprintf("tty=%v", tty), func(t *testing.T) {
			host := engine(t)
			w := newWire(t, host)
			infra, _ := open(t, dockerinfra.Options{Host: w.host})
			const lines = 400
			var out, errs infratest.Output
			r := start(t, infra, launch.Job{
				Configuration: configure(t, infra, map[string]any{"container_create_kwargs": map[string]any{"tty": tty}}),
				Command:       sh(fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i; echo $i >&2; [ $((i%%20)) != 0 ] || sleep 0.05; done; exit 9`, lines)),
				Stdout:        &out, Stderr: &errs,
			})
			for cut := 1; cut <= 4; cut++ {
				until(t, "there is more output", func() bool {
					return strings.Contains(out.String(), fmt.Sprintf("%d\n", cut*60)) || strings.Contains(out.String(), fmt.Sprintf("%d\r\n", cut*60))
				})
				w.cut(false)
			}
			if exit := wait(t, r); exit.Code != 9 {
				t.Errorf("exit %+v", exit)
			}
			var want strings.Builder
			for i := range lines {
				fmt.Fprintln(&want, i+1)
			}
			if tty {
				// Both streams come as one, each line twice.
				times := map[string]int{}
				for word := range strings.FieldsSeq(out.String()) {
					times[word]++
				}
				for word := range strings.FieldsSeq(want.String()) {
					if times[word] != 2 {
						t.Errorf("%q came %d times, want 2", word, times[word])
					}
				}
				if len(times) != lines || errs.String() != "" {
					t.Errorf("%d lines, want %d; standard error %q", len(times), lines, errs.String())
				}
			} else {
				if diff := cmp.Diff(want.String(), out.String()); diff != "" {
					t.Errorf("standard output (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want.String(), errs.String()); diff != "" {
					t.Errorf("standard error (-want +got):\n%s", diff)
				}
			}
			if n := w.connections(); n < 6 {
				t.Errorf("there were %d connections", n)
			}
			nothingLeft(t, host)
		})
	}
}

// An engine that is away for a while ends nothing; what ended meanwhile is seen.
func TestEngineAway(t *testing.T) {
	host := engine(t)
	w := newWire(t, host)
	infra, _ := open(t, dockerinfra.Options{Host: w.host})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh(`echo ready; trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done`), Stdout: &out})
	until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
	w.cut(true)
	api := docker(t, host)
	if _, err := api.ContainerStop(t.Context(), cid(r), client.ContainerStopOptions{}); err != nil {
		t.Fatal(err)
	}
	w.cut(false)
	if exit := wait(t, r); exit.Code != 4 || out.String() != "ready\nbye\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
	nothingLeft(t, host)
}

// Nobody waits for an engine for ever; when it is back, the job can be waited for again.
func TestEngineGone(t *testing.T) {
	host := engine(t)
	w := newWire(t, host)
	infra, _ := open(t, dockerinfra.Options{Host: w.host, Patience: time.Second})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh(`echo ready; trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done`), Stdout: &out})
	until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
	w.cut(true)
	if exit, err := r.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "its end is not known: no Docker engine answers") {
		t.Errorf("it is %+v, %v", exit, err)
	}
	w.cut(false)
	if err := r.Stop(t.Context(), deadline); err != nil {
		t.Error(err)
	}
	if exit := wait(t, r); exit.Code != 4 || out.String() != "ready\nbye\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
	nothingLeft(t, host)
}

// An engine that takes questions and answers none holds nobody up for ever.
func TestEngineHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "mute") // the names of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	// Nobody accepts: the system takes connections all the same.
	_, driver := open(t, dockerinfra.Options{Host: "unix://" + filepath.Join(dir, "s"), Patience: 50 * time.Millisecond})
	id := "http+docker://localhost:" + strings.Repeat("0", 64)
	for name, ask := range map[string]func(context.Context) error{
		"start": func(ctx context.Context) error {
			_, err := driver.Start(ctx, &launch.Job{Command: []string{"true"}})
			return err
		},
		"find": func(ctx context.Context) error {
			_, err := driver.Find(ctx, id, nil)
			return err
		},
		"wait": func(ctx context.Context) error {
			_, err := driver.Wait(ctx, id)
			return err
		},
		"stop": func(ctx context.Context) error { return driver.Stop(ctx, id, time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			if err := ask(ctx); err == nil || !strings.Contains(err.Error(), "does not answer") {
				t.Error(err)
			}
		})
	}
}

// Removed while nobody could see it, the end is not known, and that is said.
func TestRemovedUnseen(t *testing.T) {
	host := engine(t)
	w := newWire(t, host)
	infra, _ := open(t, dockerinfra.Options{Host: w.host})
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh(forever)})
	w.cut(true)
	if _, err := docker(t, host).ContainerRemove(t.Context(), cid(r), client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	w.cut(false)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for range 2 { // and it stays so
		if exit, err := r.Wait(ctx); err == nil || !strings.Contains(err.Error(), "the container was removed by somebody else before its end was known") {
			t.Errorf("it is %+v, %v", exit, err)
		}
	}
}
