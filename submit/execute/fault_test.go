//go:build unix

package execute_test

import (
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// A limit on the size of files fails writes as a full disk does: here the result fits, and the
// record around it does not.
func TestRecordDoesNotFit(t *testing.T) {
	const size = 24 << 20 // the test program itself writes files that are shorter
	s := store(t, nil, sh(fmt.Sprintf(`{ printf '"'; head -c %d /dev/zero | tr '\0' x; printf '"'; } >"$FLOWSHIP_RESULT"`, size-2)), execute.FlowRun{})
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = size
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	o := s.run(t, execute.Options{})
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if r := o.record; !errors.Is(o.err, execute.ErrNotRecorded) || r.State.Type != orchestrator.TypeCrashed || r.ExitCode != execute.ExitUnavailable || r.Result != nil || !r.Told {
		t.Errorf("%+v, %v", o.record, o.err)
	}
	// Of the end it tells instead, there is room for a record.
	if r := s.record(t); r.State.Type != orchestrator.TypeCrashed || !strings.HasPrefix(r.State.Message, execute.ErrNotRecorded.Error()) {
		t.Errorf("%+v", r)
	}
}

// The record may belong to another store than the bundle's.
func TestResults(t *testing.T) {
	s := store(t, nil, sh(`echo 1 >"$FLOWSHIP_RESULT"`), execute.FlowRun{})
	url, err := storage.FolderURL(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if o := s.run(t, execute.Options{Results: url}); o.err != nil || o.record.ExitCode != 0 {
		t.Fatalf("%+v, %v", o.record, o.err)
	}
	if r, err := execute.ReadRecord(t.Context(), url, s.id, nil); err != nil || r.State.Type != orchestrator.TypeCompleted {
		t.Errorf("%+v, %v", r, err)
	}
	for _, where := range []string{s.url, url + "/gone"} {
		if r, err := execute.ReadRecord(t.Context(), where, s.id, nil); !errors.Is(err, execute.ErrNoRecord) {
			t.Errorf("%s: %+v, %v", where, r, err)
		}
	}
	if o := s.run(t, execute.Options{Results: url + "/gone"}); !errors.Is(o.err, execute.ErrNotRecorded) || o.record.State.Type != orchestrator.TypeCrashed {
		t.Errorf("%+v, %v", o.record, o.err)
	}
}
