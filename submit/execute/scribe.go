package execute

import (
	"context"
	"io"
	"sync"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Scribe writes what a job prints to the logs of its run, for one whose executor cannot do so
// itself because it does not reach the orchestrator.
type Scribe struct {
	// Stdout and Stderr are what the job's output is to be written to.
	Stdout, Stderr io.Writer

	book  *logbook
	lines []*scribed
}

// NewScribe returns a scribe that also passes everything on to stdout and stderr; nil discards.
// It is to be closed when the job has ended.
func NewScribe(ctx context.Context, logs orchestrator.LogWriter, flowRunID string, stdout, stderr io.Writer) *Scribe {
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	s := &Scribe{book: openLogbook(ctx, logs, flowRunID, newSink(stderr))}
	s.Stdout, s.Stderr = s.stream(orchestrator.LogStdout, stdout), s.stream(orchestrator.LogStderr, stderr)
	return s
}

func (s *Scribe) stream(name string, to io.Writer) io.Writer {
	w := &scribed{to: to, lines: splitter{max: maxLine, each: func(line []byte) { s.book.printed(name, line) }}}
	s.lines = append(s.lines, w)
	return w
}

// Close writes what is still to be written.
func (s *Scribe) Close() {
	for _, w := range s.lines {
		w.end()
	}
	s.book.flush(flushTime)
	s.book.close()
}

// scribed is one of a job's streams.
type scribed struct {
	mu    sync.Mutex
	to    io.Writer
	lines splitter
}

// Write implements [io.Writer]. That nobody takes what is passed on keeps nothing from the logs.
func (w *scribed) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines.write(p)
	w.to.Write(p)
	return len(p), nil
}

func (w *scribed) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines.end()
}
