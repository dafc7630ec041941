package prefect

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Who follows a log is given what it did not see yet, though the server only chooses by time: the
// last minutes are read again, and what is known is left out.
const (
	lateness      = 2 * time.Minute  // how much later than others a line may arrive
	laterLines    = 1000             // but not more lines are read again
	latenessPause = 10 * time.Second // except now and then
)

// seenLogs are the logs that were read last.
type seenLogs struct {
	mu   sync.Mutex
	logs []*seenLog // the one that was read last is the last
}

const (
	seenRuns  = 32
	seenLines = 200_000 // of a run; what is older is not looked for any more
)

// seenLog says which number a line of a run has.
type seenLog struct {
	run     string
	first   int64 // the number of lines[0]
	lines   []seenLine
	numbers map[uuid.UUID]int64
	newest  time.Time
	late    time.Time // when it was last looked for all that may be late
}

type seenLine struct {
	id    uuid.UUID
	at    int64 // microseconds
	level int32
}

func newSeenLog(run string) *seenLog {
	return &seenLog{run: run, first: 1, numbers: map[uuid.UUID]int64{}}
}

// of returns what is known of the run's log to one who knows the lines up to this number.
func (s *seenLogs) of(run string, after int64) *seenLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.logs, func(l *seenLog) bool { return l.run == run })
	if i < 0 {
		l := newSeenLog(run)
		s.logs = append(s.logs, l)
		if len(s.logs) > seenRuns {
			s.logs = s.logs[1:]
		}
		return l
	}
	l := s.logs[i]
	s.logs = append(slices.Delete(s.logs, i, i+1), l)
	if after+1 < l.first { // whose number is forgotten is counted anew, for this reader alone
		return newSeenLog(run)
	}
	return l
}

// number gives the line a number, unless it has one.
func (l *seenLog) number(line *logLine, id uuid.UUID) (n int64, isNew bool) {
	if n, ok := l.numbers[id]; ok {
		return n, false
	}
	if len(l.lines) >= 2*seenLines {
		for _, old := range l.lines[:seenLines] {
			delete(l.numbers, old.id)
		}
		l.lines = slices.Clone(l.lines[seenLines:])
		l.first += seenLines
	}
	n = l.first + int64(len(l.lines))
	l.lines = append(l.lines, seenLine{id: id, at: line.Timestamp.UnixMicro(), level: int32(min(max(line.Level, math.MinInt32), math.MaxInt32))})
	l.numbers[id] = n
	if line.Timestamp.After(l.newest) {
		l.newest = line.Timestamp.Time
	}
	return n, true
}

// start is from when on lines may be that are not known; zero is from the beginning.
func (l *seenLog) start(now time.Time) time.Time {
	if len(l.lines) == 0 {
		return time.Time{}
	}
	start := l.newest.Add(-lateness)
	if now.Sub(l.late) >= latenessPause {
		l.late = now
		return start
	}
	if i := len(l.lines) - laterLines; i > 0 {
		if at := time.UnixMicro(l.lines[i].at).UTC(); at.After(start) {
			start = at
		}
	}
	return start
}

// logReading is one look at a log.
type logReading struct {
	client *Client
	log    *seenLog
	filter orchestrator.LogFilter
	found  []orchestrator.Log
}

func (r *logReading) full() bool { return r.filter.Limit > 0 && len(r.found) >= r.filter.Limit }

func (r *logReading) wants(level int) bool { return level >= r.filter.MinLevel }

func (r *logReading) read(ctx context.Context) ([]orchestrator.Log, error) {
	if err := r.readKnown(ctx); err != nil || r.full() {
		return r.found, err
	}
	known := len(r.found)
	err := r.each(ctx, r.log.start(time.Now()), func(l *logLine, id uuid.UUID) bool {
		if n, isNew := r.log.number(l, id); isNew && r.wants(l.Level) {
			r.add(l, n)
		}
		return !r.full()
	})
	slices.SortFunc(r.found[known:], byNumber)
	return r.found, err
}

// readKnown reads the lines after the filter's number that another reader was given already.
func (r *logReading) readKnown(ctx context.Context) error {
	from := max(r.filter.After+1-r.log.first, 0)
	if from >= int64(len(r.log.lines)) {
		return nil
	}
	missing, start := map[uuid.UUID]bool{}, int64(math.MaxInt64)
	end := int64(math.MinInt64)
	for _, line := range r.log.lines[from:] {
		if !r.wants(int(line.level)) {
			continue
		}
		missing[line.id] = true
		start, end = min(start, line.at), max(end, line.at)
		if r.filter.Limit > 0 && len(missing) == r.filter.Limit {
			break
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := r.each(ctx, time.UnixMicro(start).UTC(), func(l *logLine, id uuid.UUID) bool {
		if missing[id] {
			delete(missing, id)
			r.add(l, r.log.numbers[id])
		}
		return len(missing) > 0 && l.Timestamp.UnixMicro() <= end
	})
	slices.SortFunc(r.found, byNumber)
	return err
}

func byNumber(a, b orchestrator.Log) int { return cmp.Compare(a.Number, b.Number) }

func (r *logReading) add(l *logLine, n int64) {
	r.found = append(r.found, orchestrator.Log{
		Number: n, FlowRunID: r.filter.FlowRunID, Name: publicLogger(l.Name), Level: l.Level, Message: l.Message, Timestamp: l.Timestamp.Time,
	})
}

// each calls take with the lines from this moment on, in the order of their times, until that says
// no. It may call it twice with some.
func (r *logReading) each(ctx context.Context, start time.Time, take func(*logLine, uuid.UUID) bool) error {
	for offset := 0; ; {
		var limits filter
		if !start.IsZero() {
			limits = filter{"after_": start}
		}
		lines, err := r.client.lines(ctx, r.filter.FlowRunID, limits, offset)
		if err != nil {
			return err
		}
		for i := range lines {
			id, err := uuid.Parse(lines[i].ID)
			if err != nil {
				continue
			}
			if !take(&lines[i], id) {
				return nil
			}
		}
		if len(lines) < page {
			return nil
		}
		// By time, because lines may come in between; unless a page has only lines of one moment.
		if last := lines[len(lines)-1].Timestamp.Time; last.After(start) {
			start, offset = last, 0
		} else {
			offset += page
		}
	}
}
