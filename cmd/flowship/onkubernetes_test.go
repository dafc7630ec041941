//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// newTeamInCluster makes a pool whose runs are in pods, of an image with Python and the small executor.
func newTeamInCluster(t *testing.T) (*team, *cluster) {
	t.Helper()
	c := newCluster(t)
	tm := newTeamOf(t, "kubernetes", "flowship")
	image := with(t)(delivered.push(withExecutor))
	tm.env = append(tm.env, "KUBECONFIG="+c.kubeconfig)
	tm.flowship("work-pool", "update", tm.pool, "--base-job-template", c.template(tm, map[string]any{"image": image, "finished_job_ttl": 5}))
	return tm, c
}

// ending is how a run went, as the API has it.
type ending struct {
	State, Message string
	Result         string
}

// Flows in Python and in Go and commands, each by all three ways, in pods of a Prefect server's runs: the executor in the pod reports for
// itself, the bundle comes by signed URLs, and results are in the bucket of the pool's block.
func TestPrefectRunsInPods(t *testing.T) {
	tm, c := newTeamInCluster(t)
	stop := tm.serve()
	work := map[string][]string{
		"python":  {flows(t, "team") + "/flow.py:tally", "--include", "data/"},
		"go":      {flows(t, "wordcount") + ":WordCount", "--include", "texts/", "-p", "top=1"},
		"command": {"--dir", flows(t, "team"), "--include", "data/", "--", "sh", "-c", `echo "there are $(wc -w <data/words.txt)"; echo '{"words": 4}' >"$FLOWSHIP_RESULT"`},
	}
	wants := map[string]string{"python": `{"words":4}`, "command": `{"words":4}`,
		"go": `{"lines":76,"words":{"gettysburg":281,"jabberwocky":169,"sonnet18":117},"most_used":[{"word":"the","count":32}]}`}
	says := map[string]string{"python": "counting the words of data/words.txt", "go": "counted", "command": "there are 4"}
	ids, direct := map[string]string{}, map[string]string{}
	var all sync.WaitGroup
	var mu sync.Mutex
	do := func(name string, args ...string) {
		all.Go(func() {
			out, errs, code := tm.try(args...)
			mu.Lock()
			defer mu.Unlock()
			if ids[name] = strings.TrimSpace(out); code != 0 {
				tm.Errorf("flowship %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
			}
		})
	}
	for name, args := range work {
		do(name+" queued", append([]string{"submit-to-work-pool", "--pool", tm.pool}, args...)...)
		do(name+" submitted", append([]string{"submit", "--pool", tm.pool}, args...)...)
		all.Go(func() {
			out, errs, code := tm.try(append([]string{"run", "--pool", tm.pool}, args...)...)
			mu.Lock()
			defer mu.Unlock()
			if direct[name] = out; code != 0 || !strings.Contains(out+errs, says[name]) {
				tm.Errorf("run of %s: exit code %d\n%s%s", name, code, out, errs)
			}
		})
	}
	do("raising", "submit-to-work-pool", "--pool", tm.pool, flows(t, "team")+"/flow.py:tally", "-p", "fail=true")
	do("failing", "submit-to-work-pool", "--pool", tm.pool, "--", "sh", "-c", "echo no >&2; exit 7")
	do("executorless", "submit-to-work-pool", "--pool", tm.pool, "-v", "image="+with(t)(delivered.push(bare)), "--", "true")
	do("imageless", "submit-to-work-pool", "--pool", tm.pool, "-v", "image="+os.Getenv("FLOWSHIP_TEST_REGISTRY")+"/no/such:1", "--", "true")
	do("ambient", "submit-to-work-pool", "--pool", tm.pool, "-v", "storage_access=ambient", "-v", "image="+with(t)(delivered.push(withFlowship)), "--dir", flows(t, "team"), "--include", "data/", "--", "wc", "-w", "data/words.txt")
	do("cancelled", "submit-to-work-pool", "--pool", tm.pool, flows(t, "team")+"/flow.py:tally", "--include", "data/", "-p", "seconds=100")
	all.Wait()
	tm.follow(ids["cancelled"], "counting", func() error { tm.flowship("flow-run", "cancel", ids["cancelled"]); return nil })
	var waited []string
	for _, id := range ids {
		waited = append(waited, id)
	}
	tm.try(append([]string{"flow-run", "wait"}, waited...)...)

	got := map[string]ending{}
	for name, id := range ids {
		seen := tm.look(id)
		kind, way, _ := strings.Cut(name, " ")
		e := ending{State: seen.States[len(seen.States)-1], Message: seen.Message}
		if way != "" {
			e.Message, e.Result = "", strings.TrimSpace(tm.flowship("flow-run", "result", id))
			tm.logs(id, says[kind])
		}
		got[name] = e
	}
	tm.logs(ids["failing"], "no")
	tm.logs(ids["ambient"], "4 data/words.txt")
	if e := got["executorless"]; strings.Contains(e.Message, "the image has no executor") {
		got["executorless"] = ending{State: e.State, Message: "no executor"}
	}
	if e := got["imageless"]; strings.Contains(e.Message, "ErrImagePull") || strings.Contains(e.Message, "ImagePullBackOff") {
		got["imageless"] = ending{State: e.State, Message: "its image"}
	}
	want := map[string]ending{
		"raising": {"Failed", "Flow run encountered an exception: ValueError: as asked", ""}, "failing": {"Failed", "the command ended with exit code 7", ""},
		"executorless": {"Crashed", "no executor", ""},
		"imageless":    {"Crashed", "its image", ""}, "ambient": {"Completed", "", ""},
		"cancelled": {"Cancelled", "Flow run was cancelled successfully.", ""},
	}
	for name := range work {
		for _, way := range []string{" queued", " submitted"} {
			want[name+way] = ending{"Completed", "", wants[name]}
		}
		if out := direct[name]; name != "command" && compact(t, out) != wants[name] {
			t.Errorf("run of %s prints %q", name, out)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	stop()
	c.eventually("nothing is left", func() bool {
		mine := "prefect.io/work-pool-name=" + tm.pool
		return len(c.names("batch/v1", "default", "jobs", mine)) == 0 && len(c.names("v1", "default", "secrets", "dev.flowship.job")) == 0
	})
}

// compact is JSON without spaces between its words.
func compact(t *testing.T, text string) string {
	t.Helper()
	var v json.RawMessage
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Prefect's own @kubernetes with flowship as launcher: a flow that is called and one that is submitted, whose Jobs the client makes, and
// one in a pool that flowship's worker serves and one in a pool that Prefect's own worker does. Where the cluster is, a block says, as far
// as Prefect asks it.
func TestStockRunsInPods(t *testing.T) {
	tm, c := newTeamInCluster(t)
	own := tm.pool
	var block string
	for _, line := range strings.Fields(string(tm.run(t, nil, "../../testdata/flows/stock/clusterblock.py", own))) {
		block = line
	}
	template := c.template(tm, map[string]any{
		"image": with(t)(delivered.push(withFlowship)), "finished_job_ttl": 30,
		"cluster_config": map[string]any{"$ref": map[string]any{"block_document_id": block}},
	})
	tm.flowship("work-pool", "update", own, "--base-job-template", template)
	theirs := own + "-stock"
	tm.flowship("work-pool", "create", theirs, "--type", "kubernetes", "--base-job-template", template)
	tm.flowship("work-pool", "storage", "configure", "s3", theirs, "--bucket", bucketOf(t), "--aws-credentials-block-name", own)

	var log bytes.Buffer
	worker := tm.command(context.WithoutCancel(t.Context()), "-m", "prefect", "worker", "start", "--pool", theirs, "--type", "kubernetes", "--name", theirs)
	worker.Stdout, worker.Stderr, worker.Dir = &log, &log, t.TempDir()
	stopTheirs := startWorker(t, worker, &log, time.Second) // it takes its time, with nothing to do
	known := tm.env
	tm.env = slices.DeleteFunc(slices.Clone(known), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") })
	tm.env = append(tm.env, "HOME="+t.TempDir()) // no other file says where the cluster is
	stop := tm.serve()
	tm.env = known

	// What flowship submits, Prefect's own worker runs as well.
	python := strings.TrimSpace(tm.flowship("submit-to-work-pool", "--pool", theirs, "--launcher", "flowship", flows(t, "team")+"/flow.py:tally", "--include", "data/"))
	command := strings.TrimSpace(tm.flowship("submit-to-work-pool", "--pool", theirs, "--dir", flows(t, "team"), "--include", "data/", "--", "sh", "-c", `wc -w <data/words.txt >"$FLOWSHIP_RESULT"`))

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := tm.command(ctx, "../../testdata/flows/stock/pods.py", "flowship", own, theirs)
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(tm.launcher)+string(os.PathListSeparator)+os.Getenv("PATH"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("pods.py: %v\n%s\n%s", err, errs.String(), stopTheirs())
	}
	var got []called
	for line := range strings.Lines(string(out)) {
		var run called
		if json.Unmarshal([]byte(line), &run) != nil || run.Way == "" {
			continue // what else the client prints
		}
		if got = append(got, run); run.ID != "" {
			tm.logs(run.ID, "adding up")
		}
	}
	sum := map[string]any{"sum": 42.0, "script": true}
	wantCalls(t, []called{
		{Way: "called", Result: sum}, {Way: "worker", Type: "COMPLETED", Result: sum},
		{Way: "stock-worker", Type: "COMPLETED", Result: sum}, {Way: "submitted", Type: "COMPLETED", Result: sum},
	}, got)
	tm.try("flow-run", "wait", python, command)
	for id, want := range map[string]string{python: `{"words":4}`, command: "4"} {
		if result := tm.flowship("flow-run", "result", id); compact(t, result) != want {
			t.Errorf("result %s, want %s", result, want)
		}
	}
	stop()
	tm.wantNothingLeft(t)
	tm.wantClean(t, tm.secret)
}

// bucketOf is the name of the testbed's bucket.
func bucketOf(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(started.Server(t, "s3", "FLOWSHIP_TEST_S3"))
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// Runs of a server that wants a password, in a namespace where flowship may no more than rbac.yaml says. The password, the bucket's keys
// and signed URLs are in no manifest and in none of the cluster's events, but in a Secret that goes with the Job. A Secret of the
// namespace's own is the pool's to name.
func TestPodsKeepSecrets(t *testing.T) {
	api, auth := started.Server(t, "prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED"), os.Getenv("FLOWSHIP_TEST_PREFECT_AUTH")
	c := newCluster(t)
	_, password, _ := strings.Cut(auth, ":")
	store := stores(t)["s3"]()
	tm := &team{T: t, pool: "kept-" + strings.ToLower(rand.Text()[:8]), secret: password, stock: newStock(t, "FLOWSHIP_HOME="+t.TempDir())}
	tm.env = append(tm.env, "PREFECT_API_URL="+api, "PREFECT_API_AUTH_STRING="+auth)
	tm.run(t, store.fields, "../../testdata/flows/stock/blocks.py", store.kind, tm.pool)
	namespace := c.namespace()
	tm.env = append(tm.env, "KUBECONFIG="+c.account(namespace))
	c.must("POST", "/api/v1/namespaces/"+namespace+"/secrets", `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "team"}, "stringData": {"word": "open sesame"}}`)
	word := map[string]any{"name": "WORD", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "team", "key": "word"}}}
	tm.env = append(tm.env, "FLOWSHIP_EXECUTOR_IMAGE="+with(t)(delivered.push(withExecutor)))
	template := c.template(tm, map[string]any{"image": with(t)(delivered.push(bare)), "namespace": namespace, "service_account_name": "flowship"}, word)
	tm.flowship("work-pool", "create", tm.pool, "--type", "kubernetes", "--base-job-template", template)
	tm.flowship("work-pool", "storage", "configure", "s3", tm.pool, "--bucket", bucketOf(t), "--aws-credentials-block-name", tm.pool)

	id := strings.TrimSpace(tm.flowship("submit", "--pool", tm.pool, "--timeout", "2m", "--", "sh", "-c",
		`test "$WORD" = "open sesame" && test -n "$PREFECT_API_AUTH_STRING" && echo begun && trap "exit 0" INT TERM && while :; do sleep 0.1; done`))
	tm.follow(id, "begun", func() error {
		for _, path := range []string{"/apis/batch/v1/namespaces/" + namespace + "/jobs", "/api/v1/namespaces/" + namespace + "/pods", "/api/v1/namespaces/" + namespace + "/events"} {
			text := c.must("GET", path, "")
			if !strings.Contains(path, "events") && !strings.Contains(text, id) {
				t.Errorf("%s does not know the run:\n%s", path, text)
			}
			for _, secret := range []string{password, store.secret, os.Getenv("AWS_ACCESS_KEY_ID"), "X-Amz-Signature", "open sesame"} {
				if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(secret))) {
					t.Errorf("%s holds a secret", path)
				}
			}
		}
		if kept := c.names("v1", namespace, "secrets", "dev.flowship.job"); len(kept) != 1 {
			t.Errorf("Secrets of the run: %q", kept)
		}
		tm.flowship("flow-run", "cancel", id)
		return nil
	})
	if out, _, code := tm.try("flow-run", "wait", id); code != 1 || !strings.Contains(out, "Cancelled") {
		t.Errorf("wait: exit code %d\n%s", code, out)
	}
	if out := strings.TrimSpace(tm.flowship("run", "--pool", tm.pool, flows(t, "team")+"/flow.py:tally", "--include", "data/")); compact(t, out) != `{"words":4}` {
		t.Errorf("run prints %q", out)
	}
	c.eventually("the run's Secrets are gone", func() bool { return len(c.names("v1", namespace, "secrets", "dev.flowship.job")) == 0 })
	for _, job := range c.names("batch/v1", namespace, "jobs", "prefect.io/flow-run-id="+id) {
		t.Errorf("the Job %q is left", job)
	}
	if _, errs, code := tm.try("run", "--pool", tm.pool, "-v", "namespace=default", "--", "true"); code != 5 || !strings.Contains(errs, "forbidden") {
		t.Errorf("in another namespace: exit code %d\n%s", code, errs)
	}
}
