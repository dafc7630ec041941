package execute

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Levels of logs, as Prefect and Python count.
const (
	levelDebug   = 10
	levelInfo    = 20
	levelWarning = 30
	levelError   = 40
)

const (
	// maxRecordLine is the longest line of a record: a message of ten million characters is
	// cut like any other.
	maxRecordLine = 16 << 20
	// followInterval is how often is looked whether there are new records.
	followInterval = 50 * time.Millisecond
)

// records is the file to which the program appends what its logger has to say.
type records struct {
	file  *os.File
	lines splitter
	room  func() bool
}

func (x *execution) openRecords(path string) (*records, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	r := &records{file: f, room: x.book.room}
	r.lines = splitter{max: maxRecordLine, each: func(line []byte) {
		if len(line) > 0 {
			x.say(parseRecord(line))
		}
	}}
	return r, nil
}

// follow reads what is appended, and when the program has ended the rest.
func (r *records) follow(ended <-chan struct{}) {
	defer r.file.Close()
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	buf := make([]byte, 64<<10)
	for {
		select {
		case <-tick.C:
			for r.room() && r.read(buf) {
			}
		case <-ended:
			r.rest(buf)
			return
		}
	}
}

// rest reads to what is the end now: something that was left running may go on writing. It
// waits for room only so long: records that cannot be kept are shown at least.
func (r *records) rest(buf []byte) {
	at, err := r.file.Seek(0, io.SeekCurrent)
	info, statErr := r.file.Stat()
	if errors.Join(err, statErr) != nil {
		return
	}
	deadline := time.Now().Add(flushTime)
	for left := info.Size() - at; left > 0; left -= int64(len(buf)) {
		for !r.room() && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if !r.read(buf[:min(left, int64(len(buf)))]) {
			break
		}
	}
	r.lines.end()
}

// read reads once, and reports whether there was something.
func (r *records) read(buf []byte) bool {
	n, _ := r.file.Read(buf)
	r.lines.write(buf[:n])
	return n > 0
}

// parseRecord reads a line of the records; one that is none is a message as it stands.
func parseRecord(line []byte) orchestrator.Log {
	l := orchestrator.Log{Name: orchestrator.LogFlow, Level: levelInfo, Timestamp: time.Now().UTC()}
	var r struct {
		Level     *int    `json:"level"`
		Message   *string `json:"message"`
		Timestamp string  `json:"timestamp"`
		Name      string  `json:"name"`
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	if err := json.Unmarshal(line, &r); err != nil || r.Message == nil {
		l.Message = orchestrator.StoredMessage(string(line))
		return l
	}
	l.Message = orchestrator.StoredMessage(*r.Message)
	if r.Level != nil {
		l.Level = *r.Level
	}
	if r.Name != "" {
		l.Name = r.Name
	}
	if at, err := time.Parse(time.RFC3339Nano, r.Timestamp); err == nil {
		l.Timestamp = at.UTC()
	}
	return l
}

// say adds a log to the run's, and shows it.
func (x *execution) say(l orchestrator.Log) {
	x.book.add(l)
	fmt.Fprintf(x.stderr, "%s %-5s %s\n", l.Timestamp.Local().Format("15:04:05.000"), levelName(l.Level), l.Message)
}

// note says something of the executor's own.
func (x *execution) note(level int, text string) {
	x.say(orchestrator.Log{Name: orchestrator.LogFlow, Level: level, Message: orchestrator.StoredMessage(text), Timestamp: time.Now().UTC()})
}

func levelName(level int) string {
	switch {
	case level < levelInfo:
		return "DEBUG"
	case level < levelWarning:
		return "INFO"
	case level < levelError:
		return "WARN"
	}
	return "ERROR"
}
