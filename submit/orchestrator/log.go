package orchestrator

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// Log is a line of a flow run's log.
type Log struct {
	Number    int64 // set by the backend, rising in the order of writing
	FlowRunID string
	Name      string // of the logger, see LogFlow
	Level     int    // as Prefect and Python count: 10, 20, 30, 40, 50
	Message   string
	Timestamp time.Time
}

// Who writes logs.
const (
	LogFlow   = "flowship.flow"   // the flow's own logger
	LogStdout = "flowship.stdout" // what the program printed
	LogStderr = "flowship.stderr"
	LogWorker = "flowship.worker" // who launched the run
)

// MaxMessage is the length in bytes of the longest message; what is longer is cut, and ends in
// MessageCut.
const (
	MaxMessage = 1_000_000
	MessageCut = "... [truncated]"
)

// StoredMessage returns the message as backends store it: without NUL characters, as valid
// UTF-8, and no longer than MaxMessage.
func StoredMessage(message string) string {
	message = strings.ToValidUTF8(strings.ReplaceAll(message, "\x00", ""), "\uFFFD")
	if len(message) <= MaxMessage {
		return message
	}
	end := MaxMessage - len(MessageCut)
	for !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + MessageCut
}

// LogLevel converts a level: slog's Debug, Info, Warn and Error are 10, 20, 30 and 40.
func LogLevel(l slog.Level) int {
	switch {
	case l < slog.LevelInfo:
		return 10
	case l < slog.LevelWarn:
		return 20
	case l < slog.LevelError:
		return 30
	}
	return 40
}

// LogWriter is what those need who have something to say about a run.
type LogWriter interface {
	// WriteLogs appends, all or nothing. Those of a run that is not there (any more) are dropped.
	WriteLogs(ctx context.Context, logs []Log) error
}

// LogFilter chooses logs.
type LogFilter struct {
	FlowRunID string
	After     int64 // only those with a higher number
	MinLevel  int
	Limit     int // 0: no limit
}

// LogReader is what those need who read along.
type LogReader interface {
	// Logs returns the chosen ones in the order of their numbers.
	Logs(ctx context.Context, filter LogFilter) ([]Log, error)
}
