package orchestrator_test

import (
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
)

func TestLogLevel(t *testing.T) {
	got := map[slog.Level]int{}
	want := map[slog.Level]int{-8: 10, slog.LevelDebug: 10, slog.LevelInfo: 20, 2: 20, slog.LevelWarn: 30, slog.LevelError: 40, 12: 40}
	for level := range want {
		got[level] = orchestrator.LogLevel(level)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
}

func TestStoredMessage(t *testing.T) {
	const most, cut = orchestrator.MaxMessage, orchestrator.MessageCut
	for _, test := range []struct{ name, message, want string }{
		{"short", "as it is\n", "as it is\n"},
		{"NUL", "\x00a\x00", "a"},
		{"as long as it may be", strings.Repeat("x", most), strings.Repeat("x", most)},
		{"too long by NULs only", strings.Repeat("x\x00", most), strings.Repeat("x", most)},
		{"too long", strings.Repeat("x", most+1), strings.Repeat("x", most-len(cut)) + cut},
		{"cut between letters", "x" + strings.Repeat("é", most), "x" + strings.Repeat("é", (most-len(cut)-1)/2) + cut},
	} {
		if got := orchestrator.StoredMessage(test.message); got != test.want {
			t.Errorf("%s: %d bytes that end in %q, want %d", test.name, len(got), got[max(0, len(got)-20):], len(test.want))
		}
	}
}

func FuzzStoredMessage(f *testing.F) {
	f.Add("plain", 1)
	f.Add("a\x00\xff\xc3", 500_000)
	f.Add("€", 333_330)
	f.Fuzz(func(t *testing.T, text string, times int) {
		if times < 0 || times > 2*orchestrator.MaxMessage || times*len(text) > 4*orchestrator.MaxMessage {
			t.Skip()
		}
		message := strings.Repeat(text, times)
		got := orchestrator.StoredMessage(message)
		if len(got) > orchestrator.MaxMessage || !utf8.ValidString(got) || strings.Contains(got, "\x00") || orchestrator.StoredMessage(got) != got {
			t.Errorf("%d bytes from %d times %q", len(got), times, text)
		}
		if clean := utf8.ValidString(message) && !strings.Contains(message, "\x00"); clean && len(message) <= orchestrator.MaxMessage && got != message {
			t.Errorf("%q became %q", message, got)
		}
	})
}
