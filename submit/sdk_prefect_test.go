//go:build unix

package submit_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
	"github.com/flowship/flowship/submit/worker"
)

// TestFutureParametersOnPrefect: the parameters of a flow are what others return, of which a worker
// runs one, and the server has them. What a flow runs in turn is its child there.
func TestFutureParametersOnPrefect(t *testing.T) {
	u, pool := serverURL(t, "s3", "FLOWSHIP_TEST_S3"), "sdk-"+strings.ToLower(rand.Text()[:8])
	settings := &prefect.Settings{APIURL: started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API"), DefaultWorkPool: pool}
	t.Setenv("AWS_ENDPOINT_URL_S3", u.Query().Get("endpoint"))
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: t.TempDir(), Prefect: settings, Executor: []string{os.Args[0]}, Grace: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: pool, Type: "process"}); err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigureStorage(ctx, pool, submit.StorageSettings{Type: submit.StorageS3, Place: u.Host}); err != nil {
		t.Fatal(err)
	}
	on := submit.Infrastructure{Client: c, JobVariables: map[string]any{"env": map[string]any{"PREFECT_DEFAULT_WORK_POOL_NAME": pool}}}
	sum := sumFlow.On(on)
	a, err := sum.Submit(ctx, struct{ A, B int }{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	queued, err := sum.SubmitToWorkPool(ctx, struct{ A, B int }{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	working, end := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- c.Work(working, worker.Options{WorkPool: pool}) }()
	total, err := submit.Call(sum, submit.Args{"A": a, "B": queued}).Submit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := total.Result(ctx); err != nil || value != 10 {
		t.Errorf("%v, %v", value, err)
	}
	nested, err := doFlow.On(on).SubmitToWorkPool(ctx, deed{Do: "nested", Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	if value, err := nested.Result(ctx); err != nil || value != 6.0 {
		t.Errorf("%v, %v", value, err)
	}
	end()
	if err := <-worked; err != nil {
		t.Error(err)
	}

	type seen struct{ Parameters map[string]any }
	var got seen
	var children []seen
	ask := func(method, path, body string, into any) {
		t.Helper()
		answer, err := started.Ask(ctx, method, settings.APIURL+path, body)
		if err == nil {
			err = json.Unmarshal(answer, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ask(http.MethodGet, "/flow_runs/"+total.ID(), "", &got)
	if diff := cmp.Diff(map[string]any{"A": 3.0, "B": 7.0}, got.Parameters); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	ask(http.MethodPost, "/flow_runs/filter", `{"flow_runs": {"parent_flow_run_id": {"any_": ["`+nested.ID()+`"]}}}`, &children)
	if diff := cmp.Diff([]seen{{map[string]any{"A": 5.0, "B": 1.0}}}, children); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
}
