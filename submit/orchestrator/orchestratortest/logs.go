package orchestratortest

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

func (b *bed) logs(f orchestrator.LogFilter) []orchestrator.Log {
	b.Helper()
	logs, err := b.Logs(b.Context(), f)
	b.must(err)
	return logs
}

func testLogs(b *bed) {
	id, _ := b.in(state("RUNNING"))
	other, _ := b.in(state("RUNNING"))
	now := time.Now().UTC()
	var want []orchestrator.Log
	for i := range 10 {
		// The clock may go back; the order is that of writing.
		l := orchestrator.Log{
			FlowRunID: id, Name: orchestrator.LogFlow, Level: 10 * (1 + i%4), Message: fmt.Sprintf("line %d: ümläut \"quoted\"", i),
			Timestamp: now.Add(-time.Duration(i) * time.Second),
		}
		want = append(want, l)
		foreign := l
		foreign.FlowRunID = other
		nobody := l
		nobody.FlowRunID = uuid.NewString()
		b.must(b.WriteLogs(b.Context(), []orchestrator.Log{foreign, l, nobody}))
	}
	b.must(b.WriteLogs(b.Context(), nil))
	if b.LogsByTime {
		slices.Reverse(want)
	}
	got := b.logs(orchestrator.LogFilter{FlowRunID: id})
	b.diff("all", want, got, micro, cmpopts.IgnoreFields(orchestrator.Log{}, "Number"))
	if len(got) != len(want) {
		return
	}
	for i := 1; i < len(got); i++ {
		if got[i].Number <= got[i-1].Number {
			b.Errorf("number %d after %d", got[i].Number, got[i-1].Number)
		}
	}
	after, severe := got[3].Number, []orchestrator.Log{}
	for _, l := range got {
		if l.Level >= 40 {
			severe = append(severe, l)
		}
	}
	for _, test := range []struct {
		name   string
		filter orchestrator.LogFilter
		want   []orchestrator.Log
	}{
		{"after", orchestrator.LogFilter{After: after}, got[4:]},
		{"after the last", orchestrator.LogFilter{After: got[9].Number}, nil},
		{"limit", orchestrator.LogFilter{Limit: 3}, got[:3]},
		{"after, limit", orchestrator.LogFilter{After: after, Limit: 2}, got[4:6]},
		{"level", orchestrator.LogFilter{MinLevel: 40}, severe},
		{"between two levels", orchestrator.LogFilter{MinLevel: 35, Limit: 1}, severe[:1]},
		{"all of it", orchestrator.LogFilter{After: after, MinLevel: 40, Limit: 5}, severe[1:]},
	} {
		test.filter.FlowRunID = id
		b.diff(test.name, test.want, b.logs(test.filter), cmpopts.EquateEmpty())
	}
}

func testLogMessages(b *bed) {
	id, _ := b.in(state("RUNNING"))
	long := strings.Repeat("x", 10<<20)
	var logs []orchestrator.Log
	for _, message := range []string{"", "a\x00b\x00", long, strings.Repeat("é", 10<<20), "not \xff text", strings.Repeat("\x00", 10<<20) + "rest"} {
		logs = append(logs, orchestrator.Log{FlowRunID: id, Name: orchestrator.LogStdout, Level: 20, Message: message, Timestamp: time.Now()})
	}
	b.must(b.WriteLogs(b.Context(), logs))
	got := b.logs(orchestrator.LogFilter{FlowRunID: id})
	if len(got) != len(logs) {
		b.Fatalf("%d of %d lines", len(got), len(logs))
	}
	b.diff("nothing", "", got[0].Message)
	b.diff("NUL", "ab", got[1].Message)
	b.diff("after NULs", "rest", got[5].Message)
	b.diff("not text", "not \uFFFD text", got[4].Message)
	for i, l := range got {
		if !utf8.ValidString(l.Message) || len(l.Message) > orchestrator.MaxMessage || strings.Contains(l.Message, "\x00") {
			b.Errorf("line %d has %d bytes, valid %t", i, len(l.Message), utf8.ValidString(l.Message))
		}
	}
	for _, i := range []int{2, 3} {
		m := got[i].Message
		if !strings.HasSuffix(m, orchestrator.MessageCut) || len(m) < orchestrator.MaxMessage-utf8.UTFMax || m[:99] != logs[i].Message[:99] && i == 2 {
			b.Errorf("line %d: %d bytes that end in %q", i, len(m), m[len(m)-40:])
		}
	}
}
