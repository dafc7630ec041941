package kubernetesinfra

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/launch"
)

// output is where the output of a job's pods goes, one pod after the other.
type output struct {
	turn chan struct{} // holds one element while nobody reads

	mu    sync.Mutex
	to    io.Writer
	notes io.Writer
}

func newOutput(to, notes io.Writer) *output {
	if to == nil {
		to = io.Discard
	}
	o := &output{to: to, notes: notes, turn: make(chan struct{}, 1)}
	o.turn <- struct{}{}
	return o
}

func (o *output) write(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.to.Write(p); err != nil {
		o.to = io.Discard // nobody wants it any more; the job goes on
	}
}

func (o *output) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fmt.Fprintf(o.notes, "kubernetes: "+format+"\n", args...)
}

// podLog passes the output of one container on, once, however often it has to be asked for.
//
// The kubelet writes a time before every line, and can be asked for the lines from a second on.
// After a broken connection, those lines are left out whose time has been seen as often; of the
// line in the middle of which the connection broke, as many bytes as were passed on.
type podLog struct {
	*output
	cluster                   *cluster
	stopped                   *atomic.Bool // whether this program ends the job, and the log with it; or nil
	namespace, pod, container string

	seen   map[time.Time]int // lines by time, those of the last seconds
	newest time.Time
	pruned time.Time
	begun  time.Time // the line that has no end yet; zero if there is none
	passed int64     // bytes of it
	lines  int       // that were passed on
	said   map[string]bool
	heard  atomic.Int64 // bytes that came, also those that were not passed on
}

// overlap is how far before the newest line the kubelet is asked to begin: lines of the two
// streams of a container may be stored in another order than that of their times.
const overlap = 5 * time.Second

// since is the time from which lines may be missing.
func (l *podLog) since() time.Time {
	if l.newest.IsZero() {
		return time.Time{}
	}
	since := l.newest.Add(-overlap)
	if !l.begun.IsZero() && l.begun.Before(since) {
		since = l.begun
	}
	return since.Truncate(time.Second)
}

// flush is how long a container that has ended may stay silent before its output is given up.
const flush = 10 * time.Second

// run passes on all of the container's output, when the pods before it have had their turn.
func (l *podLog) run(ctx context.Context, ended <-chan struct{}) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	guarded := make(chan struct{})
	go func() {
		defer close(guarded)
		l.guard(ctx, ended, cancel)
	}()
	defer func() {
		cancel()
		<-guarded
	}()
	l.follow(ctx, ended)
	if err := l.rest(ctx); err != nil {
		l.note("the end of the output may be missing: %v", l.cluster.fault(err))
	}
}

// guard gives up when the container has ended and nothing has come for a while.
func (l *podLog) guard(ctx context.Context, ended <-chan struct{}, giveUp func()) {
	select {
	case <-ended:
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(flush)
	defer tick.Stop()
	for before := int64(-1); ; {
		select {
		case <-tick.C:
			now := l.heard.Load()
			if now == before {
				giveUp()
				return
			}
			before = now
		case <-ctx.Done():
			return
		}
	}
}

// follow passes the output on until the container has ended, through broken connections.
func (l *podLog) follow(ctx context.Context, ended <-chan struct{}) {
	pause := launch.Pause{}
	for {
		select {
		case <-ended: // the rest is read without waiting for more
			return
		default:
		}
		before := l.heard.Load()
		err := l.read(ctx, true)
		if isNotFound(err) || ctx.Err() != nil {
			return
		}
		if l.heard.Load() != before {
			pause = launch.Pause{}
		}
		// The stream ends a moment before or after the container is known to have ended.
		timer := time.NewTimer(pause.Next())
		select {
		case <-ended:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// rest reads what may be missing when the container has ended, until nothing more comes: on a busy
// node, a container is known to have ended before its last lines have been stored. A pod that was
// deleted has no output any more.
func (l *podLog) rest(ctx context.Context) error {
	pause := launch.Pause{}
	for {
		before := l.lines
		err := l.read(ctx, false)
		if isNotFound(err) || err == nil && l.lines == before {
			return nil
		}
		pause.Wait(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
}

func (l *podLog) read(ctx context.Context, follow bool) error {
	r, err := l.cluster.log(ctx, l.namespace, l.pod, l.container, follow, l.since())
	if err != nil {
		return err
	}
	defer r.Close()
	return l.pass(r)
}

// stampLength is more than the time before a line has.
const stampLength = 64

// pass writes what has not been written before.
func (l *podLog) pass(r io.Reader) error {
	again := maps.Clone(l.seen)
	lines := bufio.NewReaderSize(&counter{r, &l.heard}, 64<<10)
	for {
		at, err := readStamp(lines)
		var not *notALine
		switch {
		case errors.As(err, &not):
			// The kubelet's own words, such as that the log is gone.
			if text := string(not.text); text != "" && !l.said[text] && (l.stopped == nil || !l.stopped.Load()) {
				if l.said == nil {
					l.said = map[string]bool{}
				}
				l.said[text] = true
				l.note("%s", text)
			}
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if again[at] > 0 {
			again[at]--
			if err := copyLine(lines, func([]byte) {}); err != nil {
				return end(err)
			}
			continue
		}
		skip := int64(0)
		if at.Equal(l.begun) {
			skip = l.passed
		}
		l.begun, l.passed = at, skip
		err = copyLine(lines, func(p []byte) {
			if n := min(skip, int64(len(p))); n > 0 {
				p, skip = p[n:], skip-n
			}
			if len(p) > 0 {
				l.passed += int64(len(p))
				l.write(p)
			}
		})
		if at.After(l.newest) {
			l.newest = at
		}
		if err != nil {
			return end(err)
		}
		l.complete(at)
	}
}

type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// complete notes that a line has been passed on.
func (l *podLog) complete(at time.Time) {
	l.begun, l.passed = time.Time{}, 0
	if l.seen == nil {
		l.seen = map[time.Time]int{}
	}
	l.seen[at]++
	l.lines++
	const often = 2 * time.Second
	if l.newest.Sub(l.pruned) > often {
		l.pruned = l.newest
		oldest := l.since().Add(-time.Second)
		maps.DeleteFunc(l.seen, func(at time.Time, _ int) bool { return at.Before(oldest) })
	}
}

// end is how a stream ended that did not end with a line: a container's last line need not have
// an end.
func end(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// copyLine hands the rest of a line on, in pieces.
func copyLine(r *bufio.Reader, to func([]byte)) error {
	for {
		p, err := r.ReadSlice('\n')
		to(p)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// notALine is a line without a time.
type notALine struct{ text []byte }

func (e *notALine) Error() string { return "there is no time before the line" }

// readStamp reads the time before a line, and the blank behind it.
func readStamp(r *bufio.Reader) (time.Time, error) {
	word := make([]byte, 0, stampLength)
	for {
		b, err := r.ReadByte()
		if err != nil {
			return time.Time{}, err
		}
		switch {
		case b == ' ':
			if at, err := time.Parse(time.RFC3339Nano, string(word)); err == nil {
				return at.UTC(), nil
			}
		case b == '\n':
			return time.Time{}, &notALine{word}
		}
		if word = append(word, b); len(word) == stampLength || b == ' ' {
			text := word
			err := copyLine(r, func(p []byte) { text = append(text, p[:min(len(p), maxRemark-min(len(text), maxRemark))]...) })
			if end(err) != nil {
				return time.Time{}, err
			}
			if n := len(text); n > 0 && text[n-1] == '\n' {
				text = text[:n-1]
			}
			return time.Time{}, &notALine{text}
		}
	}
}

// maxRemark is as much of what the kubelet says as is shown.
const maxRemark = 500
