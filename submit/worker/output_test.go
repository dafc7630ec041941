package worker

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lines of several jobs are not mixed, and one that has not ended is not lost.
func TestJobsPrintWholeLines(t *testing.T) {
	var out bytes.Buffer
	all := &together{w: &out}
	var jobs sync.WaitGroup
	want := map[string]int{}
	for _, job := range []string{"a", "b", "c"} {
		line := strings.Repeat(job, 40)
		want[line] = 201
		jobs.Go(func() {
			w, leave := all.join()
			for range 100 {
				fmt.Fprint(w, line[:7])
				fmt.Fprintf(w, "%s\n%s", line[7:], line[:3])
				fmt.Fprintln(w, line[3:])
			}
			fmt.Fprint(w, line)
			leave()
		})
	}
	jobs.Wait()
	got := map[string]int{}
	for line := range strings.Lines(out.String()) {
		got[strings.TrimSuffix(line, "\n")]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}

	out.Reset()
	w, leave := all.join()
	fmt.Fprint(w, strings.Repeat("x", longestLine+1))
	if out.Len() != longestLine+1 {
		t.Errorf("of a line without an end, %d bytes are passed on", out.Len())
	}
	leave()
	if nobody, leave := (&together{}).join(); nobody != nil {
		t.Error("nobody wants what jobs print, and gets it")
	} else {
		leave()
	}
}
