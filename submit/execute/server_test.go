package execute_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// prefectServer is a real server.
type prefectServer struct {
	*prefect.Client
	api string
}

func newPrefectServer(t testing.TB) *prefectServer {
	t.Helper()
	api := os.Getenv("FLOWSHIP_TEST_PREFECT_API")
	if api == "" || os.Getenv("FLOWSHIP_TEST_PYTHON") == "" {
		if os.Getenv("FLOWSHIP_TEST_SERVERS") == "all" {
			t.Fatal("FLOWSHIP_TEST_PYTHON or FLOWSHIP_TEST_PREFECT_API is not set")
		}
		t.Skip("needs FLOWSHIP_TEST_PYTHON and FLOWSHIP_TEST_PREFECT_API")
	}
	c, err := prefect.Open(&prefect.Settings{APIURL: api, MaxRetries: 5, Jitter: 0.2, Timeout: time.Minute, CSRF: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &prefectServer{c, api}
}

// states are those that the run had, the first one first.
func (s *prefectServer) states(t testing.TB, id string) []orchestrator.State {
	t.Helper()
	states, err := s.States(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// logs are the messages of the run's logs.
func (s *prefectServer) logs(t testing.TB, id string) (messages []string) {
	t.Helper()
	logs, err := s.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: id})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		messages = append(messages, fmt.Sprintf("%d %s: %s", l.Level, l.Name, l.Message))
	}
	slices.Sort(messages) // some are written at the same moment
	return messages
}
