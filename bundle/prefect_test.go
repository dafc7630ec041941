package bundle_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/pickle"
	"github.com/flowship/flowship/cmd/testbed/started"
)

// flowRun is what the test reads of a Prefect flow run.
type flowRun struct {
	ID    string
	State struct {
		Type, Message string
		Data          struct {
			StorageKey string `json:"storage_key"`
		}
	}
}

// prefectAPI is the API URL of a real Prefect server.
type prefectAPI string

// call sends a request that may be repeated and decodes the answer, whose bytes it returns.
func (api prefectAPI) call(ctx context.Context, method, path string, body, answer any) (json.RawMessage, error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	got, err := started.Ask(ctx, method, string(api)+path, string(sent))
	if err != nil {
		return nil, err
	}
	return got, json.Unmarshal(got, answer)
}

// TestPrefectRunsBundle builds bundles of a flow and has the unmodified Prefect run them, against a real server.
func TestPrefectRunsBundle(t *testing.T) {
	python, api := started.Python(t), prefectAPI(started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API"))
	for _, test := range []struct {
		name, parameters string
		state, message   string // message: a part of it
		result           any
	}{
		{"completes", `{"least": 10}`, "COMPLETED", "", 42.5},
		{"fails", `{"path": "data/missing.csv"}`, "FAILED", "No such file or directory: 'data/missing.csv'", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			var flow struct{ ID string }
			if _, err := api.call(ctx, "POST", "/flows/", map[string]any{"name": "main"}, &flow); err != nil {
				t.Fatal(err)
			}
			var run flowRun
			created, err := api.call(ctx, "POST", "/flow_runs/", map[string]any{
				"flow_id": flow.ID, "parameters": json.RawMessage(test.parameters), "state": map[string]any{"type": "PENDING"},
				"idempotency_key": rand.Text(),
			}, &run)
			if err != nil {
				t.Fatal(err)
			}

			c, err := bundle.Collect(ctx, "../testdata/flows/etl", []string{"data/"}, &bundle.CollectOptions{Entrypoint: "etl.py:main"})
			if err != nil {
				t.Fatal(err)
			}
			inv := bundle.Invocation{Runtime: bundle.RuntimePython, Entrypoint: "etl.py:main", FlowRun: created}
			built, err := bundle.Build(ctx, c, inv, t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			log := execute(t, python, api, built.DocumentPath)

			if _, err := api.call(ctx, "GET", "/flow_runs/"+run.ID, nil, &run); err != nil {
				t.Fatal(err)
			}
			if run.State.Type != test.state || !strings.Contains(run.State.Message, test.message) {
				t.Fatalf("the run ended %s, %q; want %s, …%s…\n%s", run.State.Type, run.State.Message, test.state, test.message, log)
			}
			if test.result != nil {
				if diff := cmp.Diff(test.result, result(t, run)); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// execute runs the document in an empty working directory, with nothing of the caller's own Prefect settings, and returns the output.
func execute(t *testing.T, python string, api prefectAPI, document string) []byte {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, "-m", "prefect.bundles.execute", "--key", document)
	cmd.Dir = t.TempDir()
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PREFECT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "PREFECT_API_URL="+string(api), "PREFECT_HOME="+home, "PREFECT_RESULTS_PERSIST_BY_DEFAULT=true", "DO_NOT_TRACK=1")
	log, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("prefect.bundles.execute: %v\n%s", err, log)
	}
	if _, err := os.Stat(filepath.Join(cmd.Dir, "data", "orders.csv")); err != nil {
		t.Errorf("the included file did not arrive: %v", err)
	}
	return log
}

// result reads what the flow returned from where Prefect keeps results by default: base64 of a pickle in a file.
func result(t *testing.T, run flowRun) any {
	t.Helper()
	stored, err := os.ReadFile(run.State.Data.StorageKey)
	if err != nil {
		t.Fatal(err)
	}
	pickled, err := base64.StdEncoding.DecodeString(string(stored))
	if err != nil {
		t.Fatal(err)
	}
	v, err := pickle.Decode(pickled)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
