package kubernetesinfra

import (
	"bytes"
	"strings"
	"time"
)

// stampOf is the time of a line, of which several may have the same.
func stampOf(i int, gaps []byte) time.Time {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for n := range i {
		if len(gaps) > 0 {
			at = at.Add(time.Duration(gaps[n%len(gaps)]) * 37 * time.Millisecond)
		}
	}
	return at
}

// stamped is a log as the kubelet gives it.
func stamped(content string, gaps []byte) []byte {
	var stream bytes.Buffer
	for i, line := range strings.SplitAfter(content, "\n") {
		if line != "" {
			stream.WriteString(stampOf(i, gaps).Format("2006-01-02T15:04:05.000000000Z07:00") + " " + line)
		}
	}
	return stream.Bytes()
}

// after is the log from the time on that a reader asks for.
func after(stream []byte, l *podLog) []byte {
	var kept bytes.Buffer
	for line := range bytes.SplitAfterSeq(stream, []byte("\n")) {
		word, _, _ := bytes.Cut(line, []byte(" "))
		if at, err := time.Parse(time.RFC3339Nano, string(word)); err == nil && !at.Before(l.since()) {
			kept.Write(line)
		}
	}
	return kept.Bytes()
}
