package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
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
	attributes slog.Handler // writes to sink.text
	sink       *logSink
}

type logSink struct {
	mu   sync.Mutex
	text bytes.Buffer
	out  io.Writer
}

func newLogHandler(out io.Writer) slog.Handler {
	s := &logSink{out: out}
	return &logHandler{slog.NewTextHandler(&s.text, nil), s}
}

// Enabled implements [slog.Handler].
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.attributes.WithAttrs(attrs), h.sink}
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.attributes.WithGroup(name), h.sink}
}

// beforeAttributes is what the text handler makes of a record without a time and a message.
const beforeAttributes = `level=INFO msg=""`

// Handle implements [slog.Handler].
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	h.sink.mu.Lock()
	defer h.sink.mu.Unlock()
	h.sink.text.Reset()
	if err := h.attributes.Handle(ctx, bare); err != nil {
		return err
	}
	text := bytes.TrimSuffix(bytes.TrimPrefix(h.sink.text.Bytes(), []byte(beforeAttributes)), []byte("\n"))
	line := logLine{Level: orchestrator.LogLevel(r.Level), Message: r.Message + string(text)}
	if !r.Time.IsZero() {
		line.Timestamp = r.Time.Format(time.RFC3339Nano)
	}
	encoded, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = h.sink.out.Write(append(encoded, '\n'))
	return err
}
