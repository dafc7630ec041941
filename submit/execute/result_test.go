//go:build unix

package execute_test

import (
	"encoding/json"
	"testing"

	"github.com/flowship/flowship/submit/execute"
)

// Parameters and results keep the characters that they were written with, at any size.
func TestCharacters(t *testing.T) {
	const want = `{"y":"<&>\\u003c` + "\u2028" + ` \\"}`
	s := store(t, nil, sh(`cat "$FLOWSHIP_PARAMETERS_FILE"; cp "$FLOWSHIP_PARAMETERS_FILE" "$FLOWSHIP_RESULT"`), execute.FlowRun{Parameters: json.RawMessage(want)})
	o := s.run(t, execute.Options{})
	if o.err != nil || o.out != want {
		t.Errorf("parameters %s, want %s (%v)", o.out, want, o.err)
	}
	if r := s.record(t); string(r.Result) != want {
		t.Errorf("result %s, want %s", r.Result, want)
	}
}

func TestLargestResult(t *testing.T) {
	s := store(t, nil, sh(`{ printf '"'; head -c 67108862 /dev/zero | tr '\0' '<'; printf '"'; } >"$FLOWSHIP_RESULT"`), execute.FlowRun{})
	if o := s.run(t, execute.Options{}); o.err != nil || o.record.ExitCode != 0 {
		t.Fatalf("%+v, %v", o.record.State, o.err)
	}
	if r := s.record(t); len(r.Result) != 64<<20 {
		t.Errorf("the record's result has %d bytes", len(r.Result))
	}
}

// record is what the run left in the store.
func (s *stored) record(t *testing.T) *execute.Record {
	t.Helper()
	r, err := execute.ReadRecord(t.Context(), s.url, s.id, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
