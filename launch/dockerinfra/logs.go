package dockerinfra

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// logs passes a container's output on, once, however often the engine has to be asked for it.
//
// The engine writes a time before every piece of output. Pieces of one stream come in order, so
// after a broken connection those are left out whose time has been seen as often. With a
// terminal there are neither streams nor pieces; there the bytes are counted.
type logs struct {
	tty     bool
	streams [2]stream // standard output and standard error

	mu         sync.Mutex // one reader at a time
	bytes      int64      // that were passed on, with a terminal
	unreadable bool       // the engine keeps none
}

type stream struct {
	to    io.Writer
	last  string // time of the last piece
	seen  int    // pieces of that time
	again int    // of those, how many this connection is still going to repeat; -1 if it repeats nothing
}

func newLogs(stdout, stderr io.Writer, tty bool) *logs {
	l := &logs{tty: tty}
	for i, to := range []io.Writer{stdout, stderr} {
		if to == nil {
			to = io.Discard
		}
		l.streams[i].to = to
	}
	return l
}

// flush has those that hold output back write it.
func (l *logs) flush() {
	if l == nil {
		return
	}
	for _, s := range l.streams {
		if to, ok := s.to.(launch.Flusher); ok {
			to.Flush()
		}
	}
}

// overlap is how far before the last piece the engine is asked to begin: of two streams, pieces
// may be stored in another order than that of their times.
const overlap = 2 * time.Second

// read passes on what there is and, with follow, what comes, until the container ends. Tail is
// how many pieces at most, "" for all.
func (l *logs) read(ctx context.Context, e *engine, cid string, follow bool, tail string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unreadable {
		return nil
	}
	opts := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow, Timestamps: !l.tty, Tail: tail, Since: l.since()}
	if l.tty {
		opts.Tail = ""
	}
	r, err := e.api.ContainerLogs(ctx, cid, opts)
	if errdefs.IsNotImplemented(err) || err != nil && strings.Contains(err.Error(), "does not support reading") {
		l.unreadable = true
		fmt.Fprintln(l.streams[1].to, "docker: the engine's log driver keeps no output that can be shown")
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if l.tty {
		return l.terminal(r)
	}
	return l.demultiplex(r)
}

// since is the time from which pieces may be missing.
func (l *logs) since() string {
	first := l.streams[0].last
	if second := l.streams[1].last; first == "" || second != "" && second < first {
		first = second
	}
	at, err := time.Parse(stampLayout, first)
	if err != nil {
		return ""
	}
	return at.Add(-overlap).Format(time.RFC3339Nano)
}

// The time before a piece, always as long, in UTC: times can be compared as texts.
const (
	stampLayout = "2006-01-02T15:04:05.000000000Z "
	stampLength = len(stampLayout)
)

// demultiplex reads what the engine writes: a header of eight bytes, the first of which is the
// stream's number and the last four the length of the piece that follows.
func (l *logs) demultiplex(r io.Reader) error {
	for i := range l.streams {
		s := &l.streams[i]
		if s.again = s.seen; s.seen == 0 {
			s.again = -1
		}
	}
	var header [8]byte
	var piece bytes.Buffer
	for {
		if _, err := io.ReadFull(r, header[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		length := int64(binary.BigEndian.Uint32(header[4:]))
		if length > maxPiece {
			return fmt.Errorf("a piece of output has %d bytes", length)
		}
		piece.Reset()
		if _, err := io.CopyN(&piece, r, length); err != nil {
			return unexpected(err)
		}
		switch number := header[0]; number {
		case 1, 2:
			l.streams[number-1].pass(piece.Bytes())
		case 3:
			return fmt.Errorf("the engine says %q", piece.Bytes())
		default:
			return fmt.Errorf("a piece of output belongs to stream %d, which there is not", number)
		}
	}
}

// maxPiece is far more than what engines write in one piece, which is 16 KiB.
const maxPiece = 16 << 20

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// pass writes a piece that has not been written before.
func (s *stream) pass(piece []byte) {
	at, rest := "", piece
	if len(piece) >= stampLength {
		if _, err := time.Parse(stampLayout, string(piece[:stampLength])); err == nil {
			at, rest = string(piece[:stampLength]), piece[stampLength:]
		}
	}
	switch {
	case at == "": // an engine that writes no times
	case s.again > 0 && at < s.last:
		return
	case s.again > 0 && at == s.last:
		s.again--
		return
	case at == s.last:
		s.seen, s.again = s.seen+1, -1
	default: // earlier only when the clock was set back
		s.last, s.seen, s.again = at, 1, -1
	}
	if _, err := s.to.Write(rest); err != nil {
		s.to = io.Discard // nobody wants it any more; the job goes on
	}
}

// terminal passes on the bytes that have not been passed on before.
func (l *logs) terminal(r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, l.bytes); err != nil {
		return unexpected(err)
	}
	w := &counter{to: l.streams[0].to, n: &l.bytes}
	_, err := io.Copy(w, r)
	return err
}

type counter struct {
	to io.Writer
	n  *int64
}

func (c *counter) Write(p []byte) (int, error) {
	if _, err := c.to.Write(p); err != nil {
		c.to = io.Discard
	}
	*c.n += int64(len(p))
	return len(p), nil
}
