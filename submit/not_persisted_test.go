package submit

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// What a flow of Prefect's returned and did not store is not known: no future makes a value of it,
// where the command line has null.
func TestNotPersisted(t *testing.T) {
	settings := &prefect.Settings{APIURL: started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API")}
	api, err := prefect.Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	client, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir(), Prefect: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for data, want := range map[string]error{"": ErrNotPersisted, "7": nil} {
		run, err := api.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "elsewhere", State: orchestrator.NewState(orchestrator.TypeRunning, "")})
		if err != nil {
			t.Fatal(err)
		}
		done := orchestrator.NewState(orchestrator.TypeCompleted, "")
		done.Data = json.RawMessage(data)
		if _, err := api.SetState(t.Context(), run.ID, done, nil); err != nil {
			t.Fatal(err)
		}
		f, err := AttachWith[int](client, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if value, err := f.Result(t.Context()); !errors.Is(err, want) || want == nil && value != 7 {
			t.Errorf("data %q: %v, %v", data, value, err)
		}
	}
}
