package execute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// prefectServer is a real server, as far as an executor asks it.
type prefectServer struct{ api string }

func newPrefectServer(t testing.TB) *prefectServer {
	t.Helper()
	api := os.Getenv("FLOWSHIP_TEST_PREFECT_API")
	if api == "" || os.Getenv("FLOWSHIP_TEST_PYTHON") == "" {
		if os.Getenv("FLOWSHIP_TEST_SERVERS") == "all" {
			t.Fatal("FLOWSHIP_TEST_PYTHON or FLOWSHIP_TEST_PREFECT_API is not set")
		}
		t.Skip("needs FLOWSHIP_TEST_PYTHON and FLOWSHIP_TEST_PREFECT_API")
	}
	return &prefectServer{api}
}

func (s *prefectServer) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.api+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", path, orchestrator.ErrNotFound)
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(b, answer)
}

// serverState is a state as the server says it.
type serverState struct {
	ID      string                 `json:"id"`
	Type    orchestrator.StateType `json:"type"`
	Name    string                 `json:"name"`
	Message string                 `json:"message"`
	Data    json.RawMessage        `json:"data"`
}

func (s *serverState) state() orchestrator.State {
	return orchestrator.State{ID: s.ID, Type: s.Type, Name: s.Name, Message: s.Message, Data: s.Data}
}

func (s *prefectServer) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	state := map[string]any{"type": proposed.Type, "name": proposed.Name, "message": proposed.Message}
	if proposed.Data != nil {
		state["data"] = proposed.Data
	}
	var answer struct {
		State   *serverState
		Status  orchestrator.Status
		Details struct{ Reason string }
	}
	if err := s.call(ctx, "POST", "/flow_runs/"+id+"/set_state", map[string]any{"state": state, "force": opts != nil && opts.Force}, &answer); err != nil {
		return nil, err
	}
	out := &orchestrator.Outcome{Status: answer.Status, Reason: answer.Details.Reason}
	if answer.State != nil {
		out.State = answer.State.state()
	}
	return out, nil
}

func (s *prefectServer) FlowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	var answer struct {
		ID     string
		State  serverState
		Policy struct{ Retries int } `json:"empirical_policy"`
		Count  int                   `json:"run_count"`
	}
	if err := s.call(ctx, "GET", "/flow_runs/"+id, nil, &answer); err != nil {
		return nil, err
	}
	return &orchestrator.FlowRun{ID: answer.ID, State: answer.State.state(), Policy: orchestrator.Policy{Retries: answer.Policy.Retries}, RunCount: answer.Count}, nil
}

func (s *prefectServer) CurrentStates(ctx context.Context, ids []string) (map[string]orchestrator.State, error) {
	states := map[string]orchestrator.State{}
	for _, id := range ids {
		run, err := s.FlowRun(ctx, id)
		if err != nil {
			return nil, err
		}
		states[id] = run.State
	}
	return states, nil
}

func (s *prefectServer) EndLost(context.Context) (int, error) { return 0, nil }

// states are those that the run had, the first one first, without the time of their messages.
func (s *prefectServer) states(t testing.TB, id string) (states []serverState) {
	t.Helper()
	if err := s.call(t.Context(), "GET", "/flow_run_states/?flow_run_id="+id, nil, &states); err != nil {
		t.Fatal(err)
	}
	return states
}

// logs are the messages of the run's logs.
func (s *prefectServer) logs(t testing.TB, id string) (messages []string) {
	t.Helper()
	var logs []struct {
		Level         int
		Name, Message string
		Timestamp     time.Time
	}
	filter := map[string]any{"logs": map[string]any{"flow_run_id": map[string]any{"any_": []string{id}}}, "sort": "TIMESTAMP_ASC"}
	if err := s.call(t.Context(), "POST", "/logs/filter", filter, &logs); err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		messages = append(messages, fmt.Sprintf("%d %s: %s", l.Level, l.Name, l.Message))
	}
	slices.Sort(messages) // some are written at the same moment
	return messages
}
