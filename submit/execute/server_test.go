package execute_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// prefectServer is a real server.
type prefectServer struct {
	*prefect.Client
	api  string
	slow bool // executors learn nothing of what becomes of their runs unless they ask
}

// watched is what tells executors of their runs.
func (s *prefectServer) watched() orchestrator.Watched {
	if s.slow {
		return unheard{s.Client}
	}
	return s
}

// unheard is a backend that says nothing new.
type unheard struct{ orchestrator.LossEnder }

func (unheard) CurrentStates(_ context.Context, ids []string) (map[string]orchestrator.State, error) {
	states := map[string]orchestrator.State{}
	for _, id := range ids {
		states[id] = orchestrator.NewState(orchestrator.TypeRunning, "")
	}
	return states, nil
}

func newPrefectServer(t testing.TB) *prefectServer {
	t.Helper()
	api := started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API")
	started.Python(t)
	c, err := prefect.Open(&prefect.Settings{APIURL: api})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &prefectServer{Client: c, api: api}
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
