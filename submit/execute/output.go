package execute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// sink is where output is passed on to, by several at a time. It may be stuck; then it is given
// up, and who did not get its turn yet goes on without.
type sink struct {
	w    io.Writer
	turn chan struct{} // buffered: 1
	gone chan struct{}
}

func newSink(w io.Writer) *sink {
	return &sink{w: w, turn: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (s *sink) Write(p []byte) (int, error) {
	select {
	case s.turn <- struct{}{}:
	case <-s.gone:
		return 0, os.ErrClosed
	}
	defer func() { <-s.turn }()
	return s.w.Write(p)
}

func (s *sink) giveUp() {
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
}

// sameFile reports whether both end in the same place, where their order is to be kept.
func sameFile(a, b io.Writer) bool {
	f, ok := a.(*os.File)
	g, also := b.(*os.File)
	if !ok || !also {
		return reflect.TypeOf(a).Comparable() && a == b
	}
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	gi, err := g.Stat()
	return err == nil && os.SameFile(fi, gi)
}

// output is what the program says while it runs: by its standard output and error, and by its
// records. All of it is passed on as it comes, and written to the logbook.
type output struct {
	*execution
	streams []*stream
	files   [2]*os.File // the command's output and error
	records *records
	pipes   chan os.Signal
	ended   chan struct{} // the program has
	done    chan struct{} // all was passed on
}

// stream is one of the program's, on its way.
type stream struct {
	r, w     *os.File
	to       *sink
	lines    splitter
	failed   func(error) // to pass it on
	leftover int         // how much more may be read after the end; -1: it goes on
}

// openOutput makes what the program gets for its output, and the file for its records.
func (x *execution) openOutput(recordsPath string) (*output, error) {
	o := &output{execution: x, ended: make(chan struct{}), done: make(chan struct{})}
	var err error
	if o.records, err = x.openRecords(recordsPath); err != nil {
		return nil, err
	}
	for i, to := range []*sink{x.stdout, x.stderr} {
		if i == 1 && x.stderr == x.stdout {
			o.files[1] = o.files[0]
			break
		}
		if o.files[i], err = o.capture(to, [...]string{orchestrator.LogStdout, orchestrator.LogStderr}[i]); err != nil {
			o.abandon()
			return nil, err
		}
	}
	return o, nil
}

// capture returns what the program is to write to. Where nobody wants the logs, a file is its
// own.
func (o *output) capture(to *sink, name string) (*os.File, error) {
	if f, ok := to.w.(*os.File); ok && o.Logs == nil {
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen(w)
	s := &stream{r: r, w: w, to: to, leftover: -1, failed: func(err error) { o.lost(name, err) }}
	s.lines = splitter{max: maxLine, each: func(line []byte) { o.book.printed(name, line, false) }}
	o.streams = append(o.streams, s)
	return w, nil
}

func (o *output) stdout() *os.File { return o.files[0] }
func (o *output) stderr() *os.File { return o.files[1] }

// abandon releases everything: the program was not started.
func (o *output) abandon() {
	o.records.file.Close()
	for _, s := range o.streams {
		s.r.Close()
		s.w.Close()
	}
}

// begin passes on what comes. The program was started, and has the other ends.
func (o *output) begin() {
	// A write to standard output that nobody reads would end this process; it is the program
	// that shall learn of it.
	o.pipes = make(chan os.Signal, 1)
	signal.Notify(o.pipes, syscall.SIGPIPE)
	var all sync.WaitGroup
	all.Go(func() { o.records.follow(o.ended) })
	for _, s := range o.streams {
		s.w.Close()
		all.Go(s.pass)
	}
	go func() {
		all.Wait()
		close(o.done)
	}()
}

// lingering is how long something that the program left running, and that has its output, can
// hold up the end of the run.
const lingering = 200 * time.Millisecond

// end waits until all that the program said was passed on, which takes as long as whoever reads
// it takes; but not much longer than the grace period when an end was asked for.
func (o *output) end(ctx context.Context, why reason) {
	defer signal.Stop(o.pipes)
	for _, s := range o.streams {
		if s.r.SetReadDeadline(time.Now().Add(lingering)) != nil {
			time.AfterFunc(10*lingering, func() { s.r.Close() }) // where there are no deadlines
		}
	}
	close(o.ended)
	var limit <-chan time.Time
	if why != notStopped || o.heard != nil {
		limit = time.After(o.Grace)
	}
	done := ctx.Done()
	for {
		select {
		case <-o.done:
			return
		case <-limit:
			o.execution.stdout.giveUp()
			o.execution.stderr.giveUp()
			return
		case <-done:
			done = nil
			limit = time.After(o.Grace)
		case s := <-o.Signals:
			if ends(s) && limit == nil {
				o.heard, limit = s, time.After(o.Grace)
			}
		}
	}
}

// pass passes on what comes until there is no more.
func (s *stream) pass() {
	defer s.r.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := s.r.Read(buf)
		if n > 0 {
			if _, err := s.to.Write(buf[:n]); err != nil {
				s.r.Close() // the program shall see that nobody reads it
				s.failed(err)
			}
			s.lines.write(buf[:n])
		}
		if s.over(n, err) {
			s.lines.end()
			return
		}
	}
}

// lost says that output did not get to where it was to go, unless nobody wants it any more: a
// program that has ended by then does not learn it, and would have been told by the system.
func (o *output) lost(name string, err error) {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
		return
	}
	what := map[string]string{orchestrator.LogStdout: "standard output", orchestrator.LogStderr: "standard error"}[name]
	message := fmt.Sprintf("%s could not be passed on: %v", what, err)
	o.book.add(orchestrator.Log{Name: name, Level: levelWarning, Message: message, Timestamp: time.Now().UTC()})
	if name != orchestrator.LogStderr {
		fmt.Fprintf(o.execution.stderr, "warning: %s\n", message)
	}
}

// maxLeftover is what a pipe holds at most.
const maxLeftover = 1 << 20

// over reports whether there is nothing more to read of what the program itself wrote. After its
// end, that is no more than fits into the pipe; what comes then is of others.
func (s *stream) over(n int, err error) bool {
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case err != nil && !late:
		return true
	case s.leftover < 0 && !late:
		return false
	case s.leftover < 0:
		s.leftover = maxLeftover
	case late:
		return true
	}
	s.leftover -= n
	return s.leftover <= 0 || s.r.SetReadDeadline(time.Now().Add(lingering/4)) != nil
}

// maxLine is how much of a line is looked at: it is longer than any message.
const maxLine = 2 * orchestrator.MaxMessage

// splitter cuts a stream into lines. Of a line that is longer than max, only so much comes.
type splitter struct {
	max  int
	each func(line []byte)
	line []byte // the line that has begun
}

func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		switch {
		case i < 0:
			s.begin(p)
			return
		case len(s.line) == 0:
			s.each(p[:min(i, s.max)])
		default:
			s.begin(p[:i])
			s.each(s.line)
			s.line = s.line[:0]
		}
		p = p[i+1:]
	}
}

func (s *splitter) begin(p []byte) { s.line = append(s.line, p[:min(len(p), s.max-len(s.line))]...) }

// end takes a line that has begun for whole.
func (s *splitter) end() {
	if len(s.line) > 0 {
		s.each(s.line)
		s.line = nil
	}
}
