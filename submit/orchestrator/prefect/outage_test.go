package prefect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// While a server cannot be reached nobody can renew a lease. Who saw that takes nothing for lost
// when it is back.
func TestEndLostAfterOutage(t *testing.T) {
	var requests []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api"))
		if len(requests) == 2 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "[]")
	}))
	defer srv.Close()
	c, err := prefect.Open(&prefect.Settings{APIURL: srv.URL + "/api", MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Waiting(func(time.Duration) {})
	c.LookForLosses(0)
	look := func() {
		t.Helper()
		if n, err := c.EndLost(t.Context()); n != 0 || err != nil {
			t.Errorf("%d ended, %v", n, err)
		}
	}
	look()
	if err := c.Post(t.Context(), "/flows/", nil); err != nil {
		t.Error(err)
	}
	look()
	want := []string{"POST /flow_runs/filter", "POST /flows/", "POST /flows/"}
	if diff := cmp.Diff(want, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
