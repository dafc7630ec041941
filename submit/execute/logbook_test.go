package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
)

// stuck is a LogWriter that writes nothing until it is let go.
type stuck struct {
	called chan bool
	let    chan bool
	logs   []orchestrator.Log
}

func (s *stuck) WriteLogs(ctx context.Context, logs []orchestrator.Log) error {
	select {
	case s.called <- true:
	default:
	}
	select {
	case <-s.let:
		s.logs = append(s.logs, logs...)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A database that is locked holds up the end for a time, and not for ever.
func TestFlushGivesUp(t *testing.T) {
	var warnings bytes.Buffer
	w := &stuck{called: make(chan bool, 1), let: make(chan bool)}
	b := openLogbook(t.Context(), w, "r", newSink(&warnings))
	b.printed(orchestrator.LogStdout, []byte("a"), false)
	<-w.called
	for range 2 {
		b.flush(time.Millisecond)
	}
	if diff := cmp.Diff("warning: the logs of the run could not be stored: it takes longer than 1ms\n", warnings.String()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	// What comes later is written all the same.
	close(w.let)
	b.printed(orchestrator.LogStdout, []byte("b"), false)
	b.flush(20 * time.Second)
	b.close()
	if len(w.logs) != 2 {
		t.Errorf("logs %v", w.logs)
	}
}

// What nobody writes does not pile up without end.
func TestLogbookIsFull(t *testing.T) {
	var warnings bytes.Buffer
	w := &stuck{called: make(chan bool, 1), let: make(chan bool)}
	b := openLogbook(t.Context(), w, "r", newSink(&warnings))
	text := strings.Repeat("x", 1<<20)
	for range 100 {
		b.printed(orchestrator.LogStdout, []byte(text), false)
		b.add(orchestrator.Log{Message: text})
	}
	if b.room() || b.size > maxHeld+2<<20 {
		t.Errorf("%d bytes are held", b.size)
	}
	b.close()
}

func FuzzRecords(f *testing.F) {
	for _, text := range []string{
		`{"level": 20, "message": "training dataset=a", "timestamp": "2026-01-02T03:04:05.123456+00:00", "name": "etl"}` + "\n",
		`{"message": 1}`, "{}\n\n", "null\r\n", `{"message": "\ud800\u0000", "level": 1e3}`, "\xff\n[]", `{"level": -1, "message": ""}`,
	} {
		f.Add([]byte(text), 7)
	}
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		if piece < 1 {
			return
		}
		const most = 100
		var lines []string
		s := splitter{max: most, each: func(line []byte) {
			lines = append(lines, string(line))
			l := parseRecord(line)
			if l.Name == "" || l.Timestamp.IsZero() && !bytes.Contains(line, []byte("0001-")) || !utf8.ValidString(l.Message) {
				t.Errorf("%q: %+v", line, l)
			}
			if _, err := json.Marshal(l); err != nil {
				t.Error(err)
			}
		}}
		for rest := text; len(rest) > 0; {
			n := min(piece, len(rest))
			s.write(rest[:n])
			rest = rest[n:]
		}
		s.end()
		var want []string
		for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
			want = append(want, line[:min(len(line), most)])
		}
		if len(text) == 0 {
			want = nil
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

// What a scribe was given is written when it is flushed, also a line without an end; nobody waits for
// one that has been closed.
func TestScribeFlushes(t *testing.T) {
	w := &stuck{let: make(chan bool)}
	close(w.let)
	s := NewScribe(t.Context(), w, "r", nil)
	s.Stdout.Write([]byte("a\nb"))
	s.Stdout.(interface{ Flush() }).Flush()
	var got []string
	for _, l := range w.logs {
		got = append(got, l.Message)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	s.Close()
	began := time.Now()
	s.Stdout.(interface{ Flush() }).Flush()
	if took := time.Since(began); took > flushTime/2 {
		t.Errorf("it took %v", took)
	}
}
