package execute

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

const (
	flushInterval = 200 * time.Millisecond
	maxBatch      = 256 << 10 // bytes, as weight counts
	// maxOutput is how much of a run's output is kept, in bytes as weight counts.
	maxOutput = 16 << 20
	// maxPending is when records, which have a file to wait in, are not read any more, and
	// maxHeld how much is held altogether.
	maxPending = 4 << 20
	maxHeld    = maxOutput + 4*maxPending
	// flushTime bounds how long a run waits for its logs.
	flushTime = 10 * time.Second
	// respite is how long nothing is tried after a failure, unless it is asked for.
	respite = time.Second
)

// weight is what a log takes: its text, and a bit for what stands around it.
func weight(l *orchestrator.Log) int { return len(l.Message) + len(l.Name) + 64 }

// logbook gathers what is said in a run, and writes it in batches. That it cannot be written
// does not fail the run.
type logbook struct {
	writer    orchestrator.LogWriter // nil: nobody reads it
	flowRunID string
	warnings  *sink

	mu      sync.Mutex
	pending []orchestrator.Log
	size    int  // weight of pending
	output  int  // weight of the output so far
	failing bool // the last attempt to write did
	warned  bool

	full  chan struct{}      // buffered: 1
	asked chan chan struct{} // to write at once
	stop  context.CancelFunc
	done  chan struct{}
}

func openLogbook(ctx context.Context, writer orchestrator.LogWriter, flowRunID string, warnings *sink) *logbook {
	b := &logbook{writer: writer, flowRunID: flowRunID, warnings: warnings}
	if writer == nil {
		return b
	}
	b.full, b.asked, b.done = make(chan struct{}, 1), make(chan chan struct{}), make(chan struct{})
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	go b.keep(ctx)
	return b
}

// printed adds a line of output, unless there was too much of it or it is known already.
func (b *logbook) printed(name string, line []byte, known bool) {
	if b.writer == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.output > maxOutput {
		return
	}
	l := orchestrator.Log{Name: name, Level: levelInfo, Message: orchestrator.StoredMessage(string(bytes.TrimSuffix(line, []byte("\r")))), Timestamp: time.Now().UTC()}
	if b.output += weight(&l); b.output > maxOutput {
		l.Level, l.Message = levelWarning, fmt.Sprintf("this run prints more than %d MiB: the rest of its output is not kept", maxOutput>>20)
	}
	if !known {
		b.append(l)
	}
}

// add adds a log of another kind.
func (b *logbook) add(l orchestrator.Log) {
	if b.writer == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size < maxHeld {
		b.append(l)
	}
}

func (b *logbook) append(l orchestrator.Log) {
	l.FlowRunID = b.flowRunID
	b.pending = append(b.pending, l)
	if b.size += weight(&l); b.size >= maxBatch {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
}

// room reports whether the logbook has room for more than what is said anyway.
func (b *logbook) room() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size < maxPending
}

// keep writes what there is, by and by.
func (b *logbook) keep(ctx context.Context) {
	defer close(b.done)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	var quiet time.Time
	for {
		var answer chan struct{}
		select {
		case <-ctx.Done():
			return
		case answer = <-b.asked:
		case <-tick.C:
		case <-b.full:
		}
		if answer == nil && time.Now().Before(quiet) {
			continue
		}
		if err := b.write(ctx); err != nil {
			b.complain(err)
			quiet = time.Now().Add(respite)
		}
		if answer != nil {
			close(answer)
		}
	}
}

// write writes all that is pending, or as much as goes.
func (b *logbook) write(ctx context.Context) error {
	for {
		batch := b.batch()
		if len(batch) == 0 {
			return nil
		}
		err := b.writer.WriteLogs(ctx, batch)
		b.mu.Lock()
		if b.failing = err != nil; !b.failing {
			for i := range batch {
				b.size -= weight(&batch[i])
			}
			clear(batch) // it may be a while until the rest of the list moves
			b.pending = b.pending[len(batch):]
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// batch returns the first of what is pending.
func (b *logbook) batch() []orchestrator.Log {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := 0
	for i := range b.pending {
		if size += weight(&b.pending[i]); size >= maxBatch {
			return b.pending[:i+1]
		}
	}
	return b.pending
}

// flush writes everything, if it can within the limit.
func (b *logbook) flush(limit time.Duration) {
	if b.writer == nil {
		return
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	answer := make(chan struct{})
	select {
	case b.asked <- answer:
		select {
		case <-answer:
			return
		case <-deadline.C:
		}
	case <-b.done: // closed
		return
	case <-deadline.C:
	}
	b.complain(fmt.Errorf("it takes longer than %v", limit))
}

// complain warns once.
func (b *logbook) complain(err error) {
	b.mu.Lock()
	first := !b.warned
	b.warned = true
	b.mu.Unlock()
	if first {
		fmt.Fprintf(b.warnings, "warning: the logs of the run could not be stored: %v\n", err)
	}
}

// close ends the writing. What flush could not write is lost.
func (b *logbook) close() {
	if b.writer == nil {
		return
	}
	b.stop()
	select {
	case <-b.done:
	case <-time.After(flushTime): // it waits for somebody to read its warning
	}
}
