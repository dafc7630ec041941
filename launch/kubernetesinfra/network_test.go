package kubernetesinfra_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// counting writes numbered lines for some seconds, to both streams, and ends with code 5.
const counting = `i=0; while [ $i -lt 120 ]; do echo "line $i"; echo "other $i" >&2; i=$((i+1)); sleep 0.03; done; printf 'the end'; exit 5`

// counted is what counting writes to one of its streams.
func counted(word string, out string) string {
	var kept strings.Builder
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, word) {
			kept.WriteString(line + "\n")
		}
	}
	return kept.String()
}

func checkCounted(t *testing.T, out string) {
	t.Helper()
	for _, word := range []string{"line", "other"} {
		var want strings.Builder
		for i := range 120 {
			fmt.Fprintf(&want, "%s %d\n", word, i)
		}
		if diff := cmp.Diff(want.String(), counted(word, out)); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	}
	if n := strings.Count(out, "the end"); n != 1 {
		t.Errorf("the end is there %d times", n)
	}
}

// proxy stands between the driver and the API server; spoil may answer in its place, or take the
// answer's writer for another.
func proxy(t *testing.T, file string, spoil func(w http.ResponseWriter, r *http.Request) http.ResponseWriter) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(upstream)
	forward.Transport, forward.FlushInterval, forward.ErrorLog = transport, -1, log.New(io.Discard, "", 0)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if w = spoil(w, r); w != nil {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return kubeconfigOf(t, server.URL, "")
}

// kubeconfigOf writes a file for a server and a token.
func kubeconfigOf(t *testing.T, server, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
		"clusters": [{"name": "k", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}], "users": [{"name": "u", "user": {"token": %q}}]}`, server, token)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The output comes once and whole though its stream breaks again and again.
func TestLogStreamBreaks(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	namespace := newAPI(t, file).namespace()
	var cuts, rests atomic.Int64
	through := proxy(t, file, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		switch {
		case !strings.HasSuffix(r.URL.Path, "/log"):
		case r.URL.Query().Get("follow") == "true":
			n := cuts.Add(1)
			return &cutter{ResponseWriter: w, left: 400 + 37*int(n)}
		case rests.Add(1) == 1:
			return &withoutEnd{ResponseWriter: w}
		}
		return w
	})
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: through})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh(counting), Stdout: &out})
	if exit := wait(t, r); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	checkCounted(t, out.String())
	if cuts.Load() < 3 {
		t.Errorf("the stream broke %d times", cuts.Load())
	}
}

// withoutEnd keeps the last line back, as a node that has not stored it yet.
type withoutEnd struct {
	http.ResponseWriter
	kept []byte
}

func (w *withoutEnd) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p...)
	if end := bytes.LastIndexByte(bytes.TrimSuffix(w.kept, []byte("\n")), '\n') + 1; end > 0 {
		if _, err := w.ResponseWriter.Write(w.kept[:end]); err != nil {
			return 0, err
		}
		w.kept = w.kept[end:]
	}
	return len(p), nil
}

// cutter lets some bytes through and then breaks the connection.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	c.ResponseWriter.Write(p[:c.left])
	c.Flush()
	panic(http.ErrAbortHandler)
}

func (c *cutter) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// Watches that end, that have expired and that cannot be had do not keep the end from being seen.
func TestWatchExpires(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	namespace := newAPI(t, file).namespace()
	var watches, lists atomic.Int64
	through := proxy(t, file, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if strings.HasSuffix(r.URL.Path, "/log") || r.Method != http.MethodGet {
			return w
		}
		if r.URL.Query().Get("watch") != "true" {
			lists.Add(1)
			return w
		}
		const expired = `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}`
		switch watches.Add(1) % 5 {
		case 0:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"type":"ERROR","object":`+expired+"}\n")
		case 1:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, expired)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.Header().Set("Content-Type", "application/json") // it just ends
		default:
			ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
			t.Cleanup(cancel)
			*r = *r.WithContext(ctx)
			return w
		}
		return nil
	})
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: through})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh(counting), Stdout: &out})
	if exit := wait(t, r); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	checkCounted(t, out.String())
	if watches.Load() < 6 || lists.Load() < 4 {
		t.Errorf("%d watches, %d lists", watches.Load(), lists.Load())
	}
}

// The API server is killed and comes again.
func TestServerRestarts(t *testing.T) {
	file := kubeconfig(t)
	started.Alone(t, file) // tests of other packages use the same server
	a := newAPI(t, file)
	namespace := a.namespace()
	pid, err := strconv.Atoi(os.Getenv("FLOWSHIP_TEST_KUBERNETES_PID"))
	if err != nil {
		t.Fatal(err)
	}
	supervisor, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh(counting), Stdout: &out})
	until(t, "it has begun", func() bool { return strings.Contains(out.String(), "line 5\n") })
	if err := supervisor.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the server is away", func() bool { return a.do("GET", "/readyz", nil, nil) != nil })
	if exit := wait(t, r); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	checkCounted(t, out.String())
	until(t, "the server is ready", func() bool { return a.do("GET", "/readyz", nil, nil) == nil })
}

// Nobody waits for ever for a server that stays away; whoever asks again later is told.
func TestServerStaysAway(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	namespace := newAPI(t, file).namespace()
	var away atomic.Bool
	through := proxy(t, file, func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		return w
	})
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: through, Patience: time.Second})
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"stream_output": false}), Command: sh(counting)})
	away.Store(true)
	// The watches that have begun go on; a second driver has none.
	other, _ := open(t, kubernetesinfra.Options{Kubeconfig: through, Patience: time.Second})
	if _, err := other.Find(t.Context(), r.ID(), nil); err == nil || errors.Is(err, launch.ErrNotFound) || !strings.Contains(err.Error(), `the Kubernetes cluster at "http://127.0.0.1:`) {
		t.Errorf("find: %v", err)
	}
	away.Store(false)
	found, err := other.Find(t.Context(), r.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	away.Store(true)
	if exit, err := waitFor(t, found); exit != nil || err == nil || !strings.Contains(err.Error(), "its end is not known") {
		t.Errorf("exit %+v, %v", exit, err)
	}
	away.Store(false)
	if exit := wait(t, found); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
}

// A job goes on when the program that started it ends, and another one picks it up.
func TestFoundAgain(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	first := kubernetesinfra.New(&kubernetesinfra.Options{Kubeconfig: file})
	infra := launch.New(kubernetesinfra.Type, first)
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh(`echo ready; trap 'exit 6' TERM; while :; do sleep 0.05; done`), Env: []string{"PREFECT_API_KEY=k"}})
	waited := make(chan error, 1)
	go func() {
		_, err := r.Wait(context.Background())
		waited <- err
	}()
	until(t, "it runs", func() bool {
		var pods struct {
			Items []struct{ Status struct{ Phase string } }
		}
		a.must("GET", "/api/v1/namespaces/"+namespace+"/pods", nil, &pods)
		return len(pods.Items) == 1 && pods.Items[0].Status.Phase == "Running"
	})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil || !strings.Contains(err.Error(), "the driver was closed") {
		t.Errorf("the first one: %v", err)
	}
	second, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	found, err := second.Find(t.Context(), r.ID(), &launch.FindOptions{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := found.Wait(context.Background())
		waited <- err
	}()
	until(t, "the output comes", func() bool { return out.String() == "ready\n" })
	if err := found.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, found); exit.Code != 6 {
		t.Errorf("exit %+v", exit)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	until(t, "nothing is left", func() bool { return len(a.jobs(namespace))+len(a.secrets(namespace)) == 0 })
}
