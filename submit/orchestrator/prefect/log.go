package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/flowship/flowship/submit/orchestrator"
)

// What is sent at once, and the longest message of Prefect Cloud, in bytes.
const (
	maxLogBatch     = 4_000_000
	maxCloudMessage = 25_000
)

// Names of loggers that Prefect has its own for.
var serverLoggers = map[string]string{
	orchestrator.LogFlow:   "prefect.flow_runs",
	orchestrator.LogWorker: "prefect.flow_runs.worker",
}

func serverLogger(name string) string {
	if own, ok := serverLoggers[name]; ok {
		return own
	}
	return name
}

func publicLogger(name string) string {
	for public, own := range serverLoggers {
		if name == own {
			return public
		}
	}
	return name
}

// logLine is a line of a log as the server writes and reads it.
type logLine struct {
	ID        string `json:"id,omitempty"`
	FlowRunID string `json:"flow_run_id"`
	Name      string `json:"name"`
	Level     int    `json:"level"`
	Message   string `json:"message"`
	Timestamp moment `json:"timestamp"`
}

// WriteLogs implements [orchestrator.LogWriter]. More than four megabytes are sent in several
// parts, of which each is written in full or not at all.
func (c *Client) WriteLogs(ctx context.Context, logs []orchestrator.Log) error {
	var batch bytes.Buffer
	var first logLine
	send := func() error {
		if batch.Len() == 0 {
			return nil
		}
		batch.WriteByte(']')
		defer batch.Reset()
		err := c.callOnce(ctx, http.MethodPost, "/logs/", json.RawMessage(batch.Bytes()), nil, func(ctx context.Context) error {
			there, err := c.hasLine(ctx, first)
			if err == nil && there {
				err = errWritten
			}
			return err
		})
		if errors.Is(err, errWritten) {
			return nil
		}
		return err
	}
	for _, l := range logs {
		id, ok := uuidOf(l.FlowRunID)
		if !ok {
			continue
		}
		line := logLine{
			FlowRunID: id, Name: serverLogger(l.Name), Level: l.Level, Message: c.message(l.Message),
			Timestamp: moment{l.Timestamp.UTC().Truncate(time.Microsecond)}, // as it is kept
		}
		text, err := encode(line)
		if err != nil {
			return err
		}
		if batch.Len() > 0 && batch.Len()+len(text) > maxLogBatch {
			if err := send(); err != nil {
				return err
			}
		}
		if batch.Len() == 0 {
			batch.WriteByte('[')
			first = line
		} else {
			batch.WriteByte(',')
		}
		batch.Write(text)
	}
	return send()
}

// errWritten: an earlier try has written it.
var errWritten = errors.New("it is written already")

// encode returns the line as JSON, without the escapes that only HTML needs.
func encode(line logLine) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(line)
	return bytes.TrimSpace(b.Bytes()), err
}

// message is the text as the server takes it.
func (c *Client) message(text string) string {
	text = orchestrator.StoredMessage(text)
	if !c.settings.Cloud || len(text) <= maxCloudMessage {
		return text
	}
	end := maxCloudMessage - len(orchestrator.MessageCut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + orchestrator.MessageCut
}

// hasLine reports whether the server has this line.
func (c *Client) hasLine(ctx context.Context, line logLine) (bool, error) {
	at := line.Timestamp.Time
	for offset := 0; ; offset += page {
		lines, err := c.lines(ctx, line.FlowRunID, filter{"after_": at, "before_": at}, offset)
		if err != nil {
			return false, err
		}
		for _, l := range lines {
			if l.Name == line.Name && l.Level == line.Level && l.Message == line.Message {
				return true, nil
			}
		}
		if len(lines) < page {
			return false, nil
		}
	}
}

// lines returns a page of the run's log, the earliest first. The limits may be nil.
func (c *Client) lines(ctx context.Context, run string, limits filter, offset int) ([]logLine, error) {
	chosen := filter{"flow_run_id": filter{"any_": []string{run}}}
	if limits != nil {
		chosen["timestamp"] = limits
	}
	var lines []logLine
	body := filter{"logs": chosen, "sort": "TIMESTAMP_ASC", "limit": page, "offset": offset}
	err := c.call(ctx, http.MethodPost, "/logs/filter", body, &lines)
	return lines, err
}

// Logs implements [orchestrator.LogReader]. The server orders lines by their time. A number is
// this client's: it counts the lines of a run in the order in which it saw them, so that one which
// arrives later than others that were written after it is not lost to who follows.
func (c *Client) Logs(ctx context.Context, f orchestrator.LogFilter) ([]orchestrator.Log, error) {
	id, ok := uuidOf(f.FlowRunID)
	if !ok {
		return nil, nil
	}
	if f.After <= 0 { // of a run that is not there any more, lines may still be
		if _, err := c.read(ctx, id); isNotFound(err) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	f.FlowRunID = id
	unlock, err := c.reading.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r := &logReading{client: c, log: c.logs.of(id, f.After), filter: f}
	return r.read(ctx)
}
