package worker

import (
	"bytes"
	"io"
	"sync"
)

// together is where what several jobs print goes, in whole lines.
type together struct {
	mu sync.Mutex
	w  io.Writer // nil discards it
}

// join returns what one job writes to, and what is to be called when the job has ended.
func (t *together) join() (w io.Writer, leave func()) {
	if t.w == nil {
		return nil, func() {}
	}
	s := &share{to: t}
	return s, s.leave
}

// longestLine is the size in bytes from which on a line is passed on before it has ended.
const longestLine = 64 << 10

// share is one job's. What cannot be passed on is dropped: the job goes on.
type share struct {
	to   *together
	line []byte // that has begun
}

func (s *share) Write(p []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.line = append(s.line, p...)
	end := bytes.LastIndexByte(s.line, '\n') + 1
	if end == 0 && len(s.line) > longestLine {
		end = len(s.line)
	}
	if end > 0 {
		s.to.w.Write(s.line[:end])
		s.line = append(s.line[:0], s.line[end:]...)
	}
	return len(p), nil
}

// leave ends a line that has begun.
func (s *share) leave() {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if len(s.line) > 0 {
		s.to.w.Write(append(s.line, '\n'))
		s.line = nil
	}
}
