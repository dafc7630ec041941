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
	// Stdout and Stderr are what the job's output is to be written to, and Notes what its platform
	// says.
	Stdout, Stderr, Notes io.Writer

	book  *logbook
	lines []*scribed
}

// ScribeOptions are the options of [NewScribe]; nil is the default.
type ScribeOptions struct {
	// Stdout and Stderr get everything as well, notes the latter; nil discards.
	Stdout, Stderr io.Writer
	// Written is how many lines of each stream, by the names of logs, an earlier scribe has written
	// of the same output, which is going to be written here from its beginning.
	Written map[string]int
}

// NewScribe returns a scribe. It is to be closed when the job has ended, or left.
func NewScribe(ctx context.Context, logs orchestrator.LogWriter, flowRunID string, opts *ScribeOptions) *Scribe {
	if opts == nil {
		opts = &ScribeOptions{}
	}
	stdout, stderr := opts.Stdout, opts.Stderr
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	s := &Scribe{book: openLogbook(ctx, logs, flowRunID, newSink(stderr))}
	s.Stdout = s.stream(orchestrator.LogStdout, stdout, opts.Written)
	s.Stderr = s.stream(orchestrator.LogStderr, stderr, opts.Written)
	s.Notes = s.stream(orchestrator.LogWorker, stderr, nil)
	return s
}

func (s *Scribe) stream(name string, to io.Writer, written map[string]int) io.Writer {
	known := written[name]
	w := &scribed{book: s.book, to: to, lines: splitter{max: maxLine, each: func(line []byte) {
		s.book.printed(name, line, known > 0)
		known--
	}}}
	s.lines = append(s.lines, w)
	return w
}

// Close writes what is still to be written.
func (s *Scribe) Close() {
	for _, w := range s.lines {
		w.end()
	}
	s.Leave()
}

// Leave writes the lines that have come to their end, and leaves the rest to another scribe.
func (s *Scribe) Leave() {
	s.book.flush(flushTime)
	s.book.close()
}

// scribed is one of a job's streams.
type scribed struct {
	book  *logbook
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

// Flush implements launch.Flusher: the output is complete.
func (w *scribed) Flush() {
	w.end()
	w.book.flush(flushTime)
}

func (w *scribed) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines.end()
}
