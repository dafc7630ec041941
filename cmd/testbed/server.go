package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// server is one kind of server that testbed can start.
type server struct {
	name  string
	gives []string // names of the environment variables
	// start installs what is missing, starts the server and returns once it answers. Whatever it leaves running it has handed to
	// place.daemon, and whatever else it leaves to place.atEnd, also when it fails. An unavailableError says that this machine cannot
	// have the server.
	start func(ctx context.Context, p *place) (env []string, err error)
}

// place is where one server runs: its own state directory, its daemons and a voice.
type place struct {
	name  string
	dir   string // empty at first, removed at the end
	cache string // shared by all testbeds of the user, remains
	named bool   // the server was asked for by its name
	say   func(format string, args ...any)

	daemons []*daemon
	ends    []func()
}

// atEnd has something done after the daemons of the place have ended, the last one first.
func (p *place) atEnd(f func()) { p.ends = append(p.ends, f) }

// unavailableError: the machine cannot have the server, whatever is installed.
type unavailableError struct{ reason string }

func (e *unavailableError) Error() string { return e.reason }

// bed is what runs.
type bed struct {
	dir     string
	places  []*place
	env     []string
	missing []string // names of the servers that the machine cannot have
}

// startAll starts the servers at once and returns when all of them answer; with an error, nothing is left running. Unless all are
// required, those that the machine cannot have are missing.
func startAll(signals <-chan os.Signal, chosen []server, required bool, stderr io.Writer) (_ *bed, err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "flowship-testbed-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	ctx, unwatch := untilSignal(signals)
	defer unwatch()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var (
		voice sync.Mutex
		wg    sync.WaitGroup
		envs  = make([][]string, len(chosen))
		errs  = make([]error, len(chosen))
	)
	say := func(format string, args ...any) {
		voice.Lock()
		defer voice.Unlock()
		fmt.Fprintf(stderr, "testbed: "+format+"\n", args...)
	}
	for i, s := range chosen {
		p := &place{name: s.name, dir: filepath.Join(dir, s.name), cache: cache, named: required, say: say}
		b.places = append(b.places, p)
		wg.Go(func() {
			if errs[i] = os.Mkdir(p.dir, 0o700); errs[i] == nil {
				envs[i], errs[i] = s.start(ctx, p)
			}
			var unavailable *unavailableError
			if !required && errors.As(errs[i], &unavailable) {
				say("%s: left out: %v", s.name, unavailable)
				voice.Lock()
				b.missing = append(b.missing, s.name)
				voice.Unlock()
				errs[i] = nil
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, errs[i])
				// One server less, and the command cannot run: the others need not get ready.
				cancel()
			}
		})
	}
	wg.Wait()
	// The server that failed by itself comes first, or alone; those that were cancelled for it only repeat that.
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
	if err := cmp.Or(context.Cause(ctx), errors.Join(errs...)); err != nil {
		return nil, err
	}
	for _, env := range envs {
		b.env = append(b.env, env...)
	}
	return b, nil
}

func (b *bed) stop() {
	var wg sync.WaitGroup
	for _, p := range b.places {
		for _, d := range p.daemons {
			wg.Go(d.stop)
		}
	}
	wg.Wait()
	for _, p := range b.places {
		for _, end := range slices.Backward(p.ends) {
			end()
		}
	}
	os.RemoveAll(b.dir)
}

// daemon is a process that serves until it is stopped, with every process that it started.
type daemon struct {
	cmd   *exec.Cmd
	log   string
	done  chan struct{} // closed once the process has ended
	grace time.Duration // from TERM to KILL
}

// serve starts a server at the address, "http://…", and waits until it answers.
func (p *place) serve(ctx context.Context, name string, cmd *exec.Cmd, address string, within time.Duration, answered func(context.Context) bool) error {
	start := time.Now()
	cmd.Dir = p.dir
	d, err := p.daemon(name, cmd)
	if err != nil {
		return err
	}
	if err := d.waitFor(ctx, address, within, answered); err != nil {
		return err
	}
	p.say("%s on %s, ready in %.1fs", name, address, time.Since(start).Seconds())
	return nil
}

// answering says whether a GET of url answers 200.
func answering(url string) func(context.Context) bool {
	return func(ctx context.Context) bool { return answers(ctx, url) }
}

// daemon starts a process with its output in a file of the place.
func (p *place) daemon(name string, cmd *exec.Cmd) (*daemon, error) {
	d := &daemon{cmd: cmd, log: filepath.Join(p.dir, name+".log"), done: make(chan struct{}), grace: 15 * time.Second}
	out, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd)
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.daemons = append(p.daemons, d)
	go func() {
		defer close(d.done)
		cmd.Wait() // how it ended shows in its log
	}()
	return d, nil
}

func (d *daemon) stop() {
	stopGroup(d.cmd.Process, d.done, d.grace)
	<-d.done
}

// waitFor waits until answered reports that the server, which serves url, does.
func (d *daemon) waitFor(ctx context.Context, url string, within time.Duration, answered func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if answered(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.done:
			return fmt.Errorf("ended before it was ready:\n%s", d.tail())
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("no answer from %s within %s:\n%s", url, within, d.tail())
			}
			return context.Cause(ctx)
		}
	}
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// tail returns the end of the log.
func (d *daemon) tail() []byte {
	const lines = 20
	b, err := os.ReadFile(d.log)
	if err != nil {
		return []byte(err.Error())
	}
	b = bytes.TrimSpace(b)
	all := bytes.Split(b, []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}

// freePort returns a port of 127.0.0.1 on which nothing listens. It lies below the ports that systems hand out for port 0: a slow server
// takes seconds to listen on it, and in that time no outgoing connection of this machine may get the port.
func freePort() (int, error) {
	for range 100 {
		port := 15000 + rand.IntN(15000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port found")
}
