package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
)

func TestHumanSize(t *testing.T) {
	for _, tt := range []struct {
		size int64
		want string
	}{
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1024*1024 - 1, "1.0 MiB"},
		{1536 * 1024, "1.5 MiB"},
		{1<<63 - 1, "8.0 EiB"},
	} {
		if got := humanSize(tt.size); got != tt.want {
			t.Errorf("humanSize(%d) = %q, want %q", tt.size, got, tt.want)
		}
	}
}

func TestHumanAge(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{
		{-time.Hour, "Less than a second ago"},
		{999 * time.Millisecond, "Less than a second ago"},
		{time.Second, "1 second ago"},
		{59 * time.Second, "59 seconds ago"},
		{time.Minute, "About a minute ago"},
		{2 * time.Minute, "2 minutes ago"},
		{59*time.Minute + 59*time.Second, "59 minutes ago"},
		{time.Hour, "About an hour ago"},
		{47 * time.Hour, "47 hours ago"},
		{2 * day, "2 days ago"},
		{14 * day, "2 weeks ago"},
		{60 * day, "2 months ago"},
		{729 * day, "24 months ago"},
		{731 * day, "2 years ago"},
	} {
		if got := humanAge(tt.age); got != tt.want {
			t.Errorf("humanAge(%v) = %q, want %q", tt.age, got, tt.want)
		}
	}
}

func TestHumanDuration(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0ms"},
		{1500 * time.Microsecond, "1ms"},
		{1540 * time.Millisecond, "1.5s"},
		{10 * time.Second, "10s"},
		{70 * time.Second, "1m10s"},
		{10 * time.Minute, "10m"},
		{time.Hour, "1h"},
		{100*time.Minute + 10*time.Second, "1h40m"},
		{30 * time.Hour, "30h"},
	} {
		if got := humanDuration(tt.d); got != tt.want {
			t.Errorf("humanDuration(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestCount(t *testing.T) {
	var got []string
	for _, n := range []int{0, 1, 2, 999, 1000, 1234567} {
		got = append(got, count(n, "file"))
	}
	want := []string{"0 files", "1 file", "2 files", "999 files", "1,000 files", "1,234,567 files"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("count (-want +got):\n%s", diff)
	}
}

func TestShellLine(t *testing.T) {
	got := shellLine([]string{"sh", "-c", "echo $X", "it's", "", "a=b,c:d@e%f+g./-_", "two\nlines"})
	want := `sh -c 'echo $X' 'it'"'"'s' '' a=b,c:d@e%f+g./-_ "two\nlines"`
	if got != want {
		t.Errorf("shellLine = %s\nwant        %s", got, want)
	}
}

func TestWantsJSON(t *testing.T) {
	for line, want := range map[string]bool{
		"":                          false,
		"-o json":                   true,
		"-ojson":                    true,
		"-o=json":                   true,
		"--output json bundle x":    true,
		"bundle x --output=json":    true,
		"-o json -o text":           false,
		"bundle x -- cmd -o json":   false,
		"-o":                        false,
		"bundle build --out json x": false,
	} {
		if got := wantsJSON(strings.Fields(line)); got != want {
			t.Errorf("wantsJSON(%q) = %v, want %v", line, got, want)
		}
	}
}

// TestTable checks that columns stay aligned where a character is two cells wide, and that
// styles do not count.
func TestTable(t *testing.T) {
	table := &table{head: []string{"NAME", ">SIZE", "WHY"}}
	table.add(text("日本.txt"), text("12 B"), cell{"all of it", dim})
	table.add(text("a.txt"), text("1.5 KiB"), text("b"))
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	table.write(w, true)
	w.Flush()
	want := "\x1b[1mNAME\x1b[0m         \x1b[1mSIZE\x1b[0m  \x1b[1mWHY\x1b[0m\n" +
		"日本.txt     12 B  \x1b[2mall of it\x1b[0m\n" +
		"a.txt     1.5 KiB  b\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// A log's message may be anything that a program prints.
func TestWriteLog(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_700_000, time.Local)
	for _, test := range []struct {
		log    orchestrator.Log
		styled bool
		want   string
	}{
		{orchestrator.Log{Level: 20, Message: "ready\tset"}, false, "03:04:05.006  INFO   ready\tset\n"},
		{orchestrator.Log{Level: 25, Message: "a\r\nb\n"}, false, "03:04:05.006  INFO   a\n                     b\n"},
		{orchestrator.Log{Level: 30, Message: "\x1b[2J\x07é\xff"}, false, "03:04:05.006  WARN   \\x1b[2J\\aé\ufffd\n"},
		{orchestrator.Log{Level: 5, Message: ""}, false, "03:04:05.006  DEBUG  \n"},
		{orchestrator.Log{Level: 40, Message: "no"}, true, "\x1b[2m03:04:05.006\x1b[0m  \x1b[31mERROR\x1b[0m  \x1b[31mno\x1b[0m\n"},
	} {
		test.log.Timestamp = at
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		writeLog(w, test.styled, test.log)
		w.Flush()
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.log.Message, diff)
		}
	}
}
