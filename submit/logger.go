package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// loggerKey is where a context holds the logger of the flow that it was made for.
type loggerKey struct{}

// Logger returns the logger of the flow that ctx was handed to: what it gets, from Info on,
// becomes the run's logs. Outside a run it writes to stderr.
func Logger(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return l
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// logLine is a line of the file that the executor reads the run's logs from.
type logLine struct {
	Level     int    `json:"level"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp,omitempty"`
}

// logHandler writes each record as one line of JSON, attributes behind the message as
// [slog.TextHandler] has them, in one piece: others may append to the same file.
type logHandler struct {
	with []func(slog.Handler) slog.Handler // WithAttrs and WithGroup, in their order
	out  io.Writer
	mu   *sync.Mutex // of out; not held while values are asked for their text, which may log as well
}

func newLogHandler(out io.Writer) slog.Handler { return &logHandler{out: out, mu: new(sync.Mutex)} }

// Enabled implements [slog.Handler].
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	return h.and(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *logHandler) and(with func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{append(slices.Clip(h.with), with), h.out, h.mu}
}

// beforeAttributes is what the text handler makes of a record without a time and a message.
const beforeAttributes = `level=INFO msg=""`

// Handle implements [slog.Handler].
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	attributes := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		attributes.AddAttrs(a)
		return true
	})
	var text bytes.Buffer
	var to slog.Handler = slog.NewTextHandler(&text, nil)
	for _, with := range h.with {
		to = with(to)
	}
	if err := to.Handle(ctx, attributes); err != nil {
		return err
	}
	line := logLine{
		Level:   orchestrator.LogLevel(r.Level),
		Message: r.Message + strings.TrimSuffix(strings.TrimPrefix(text.String(), beforeAttributes), "\n"),
	}
	if !r.Time.IsZero() {
		line.Timestamp = r.Time.Format(time.RFC3339Nano)
	}
	encoded, err := json.Marshal(line)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err = h.out.Write(append(encoded, '\n'))
	return err
}
