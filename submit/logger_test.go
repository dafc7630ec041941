package submit

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newLogHandler(&out))
	l.Debug("not shown")
	l.Info("training", "dataset", "a b", "n", 1)
	l.Warn("two\nlines")
	l.Error("")
	l.With("level", "mine", "msg", "mine").WithGroup("g").With("x", 1).Info("grouped", slog.Group("h", "y", 2), "err", errors.New("bad"))
	l.Info("level=INFO msg=\"\"", "time", time.Duration(1))
	l.Info("\xff \x00 <&>", "", "")

	var got []logLine
	for line := range strings.Lines(out.String()) {
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339Nano, l.Timestamp); err != nil {
			t.Error(err)
		}
		l.Timestamp = ""
		got = append(got, l)
	}
	want := []logLine{
		{Level: 20, Message: `training dataset="a b" n=1`},
		{Level: 30, Message: "two\nlines"},
		{Level: 40, Message: ""},
		{Level: 20, Message: `grouped level=mine msg=mine g.x=1 g.h.y=2 g.err=bad`},
		{Level: 20, Message: `level=INFO msg="" time=1ns`},
		{Level: 20, Message: "\ufffd \x00 <&> \"\"=\"\""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLoggerLines: records come whole, whoever writes at the same time.
func TestLoggerLines(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	l := slog.New(newLogHandler(out))
	var writing sync.WaitGroup
	for i := range 20 {
		writing.Go(func() {
			for range 50 {
				l.With("i", i).Info(strings.Repeat("x", 1000))
			}
		})
	}
	writing.Wait()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		if lines++; json.Unmarshal([]byte(line), new(logLine)) != nil {
			t.Errorf("%q", line)
		}
	}
	if lines != 1000 {
		t.Errorf("%d lines", lines)
	}
}

// chatty logs when it is asked for its text.
type chatty struct{ l *slog.Logger }

func (c chatty) LogValue() slog.Value {
	c.l.Info("asked")
	return slog.StringValue("answer")
}

func TestLoggerOfLogger(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newLogHandler(&out))
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.WithGroup("g").With("with", 1).Info("hello", "value", chatty{l})
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for itself")
	}
	if got := strings.Count(out.String(), "asked"); got != 1 || !strings.Contains(out.String(), `"hello g.with=1 g.value=answer"`) {
		t.Error(out.String())
	}
}

func TestLoggerOutsideRun(t *testing.T) {
	before := os.Stderr
	defer func() { os.Stderr = before }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = w
	Logger(t.Context()).Info("here", "a", 1)
	w.Close()
	var text bytes.Buffer
	text.ReadFrom(r)
	if !strings.HasSuffix(text.String(), "level=INFO msg=here a=1\n") {
		t.Errorf("%q", text.String())
	}
}
