//go:build unix

package submit_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "gocloud.dev/blob/azureblob"
	_ "gocloud.dev/blob/s3blob"

	"github.com/flowship/flowship/cmd/testbed/started"
	_ "github.com/flowship/flowship/storage/gcs"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

// serverURL returns the URL of a bucket on a real server, which the variable names.
func serverURL(t *testing.T, server, variable string) *url.URL {
	t.Helper()
	u, err := url.Parse(started.Server(t, server, variable))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newPrefix returns the URL of an empty part of a bucket.
func newPrefix(u *url.URL) string {
	u.Path = "/" + rand.Text()
	return u.String()
}

// meter stands before a server and counts what it answers.
type meter struct {
	requests, sent, got atomic.Int64
}

func (m *meter) reset() { m.requests.Store(0); m.sent.Store(0); m.got.Store(0) }

// metered returns the URL of an S3 bucket behind a meter.
func metered(t *testing.T) (string, *meter) {
	t.Helper()
	u := serverURL(t, "s3", "FLOWSHIP_TEST_S3")
	query := u.Query()
	server, err := url.Parse(query.Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{}
	proxy := httputil.NewSingleHostReverseProxy(server)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &countingBody{r.Body, &m.got}
		return nil
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.requests.Add(1)
		r.Body = &countingBody{r.Body, &m.sent}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	query.Set("endpoint", front.URL)
	u.RawQuery = query.Encode()
	return newPrefix(u), m
}

type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func build(t *testing.T, files map[string]string) string {
	t.Helper()
	c, err := bundle.Collect(t.Context(), tree(t, files), []string{"*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := bundle.Build(t.Context(), c, bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"true"}}, dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Of what is stored, no more is read than is asked about.
func TestStoredBundleIsReadSparingly(t *testing.T) {
	store, m := metered(t)
	content := make([]byte, 8<<20)
	rand.Read(content)
	c := newBed(t).client
	pushed, err := c.Push(t.Context(), build(t, map[string]string{"large": string(content), "small": "x"}), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sent := m.sent.Load(); sent < pushed.UploadedBytes || sent > pushed.UploadedBytes*101/100 {
		t.Errorf("push sent %d bytes for %d", sent, pushed.UploadedBytes)
	}
	m.reset()
	document, sidecar := submit.ObjectURL(store, pushed.Key), submit.ObjectURL(store, pushed.FilesKey)
	for _, ref := range []string{document, sidecar} {
		contents, err := c.Contents(t.Context(), ref)
		if err != nil || len(contents.Manifest.Entries) != 2 || contents.ArchiveSize < int64(len(content)) {
			t.Errorf("%s: %+v, %v", ref, contents, err)
		}
	}
	if d, err := c.Diff(t.Context(), sidecar, sidecar); err != nil || !d.Empty() {
		t.Errorf("%+v, %v", d, err)
	}
	if got := m.got.Load(); got > 512<<10 {
		t.Errorf("inspect and diff read %d bytes", got)
	}
	m.reset()
	b, cleanup, err := c.OpenBundle(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	report, err := b.Verify(t.Context(), nil)
	if err != nil || !report.OK {
		t.Errorf("%+v, %v", report, err)
	}
	if got := m.got.Load(); got > pushed.UploadedBytes*101/100 {
		t.Errorf("verify read %d bytes of %d", got, pushed.UploadedBytes)
	}
}

// Runs of all three ways use the object store of their pool, and the executor fetches by itself.
func TestPoolInObjectStore(t *testing.T) {
	for server, variable := range map[string]string{"s3": "FLOWSHIP_TEST_S3", "gcs": "FLOWSHIP_TEST_GCS", "azure": "FLOWSHIP_TEST_AZURE"} {
		t.Run(server, func(t *testing.T) {
			u := serverURL(t, server, variable)
			name := "creds"
			settings := submit.StorageSettings{Place: u.Host}
			switch server {
			case "s3":
				settings.Type = submit.StorageS3
				t.Setenv("AWS_ENDPOINT_URL_S3", u.Query().Get("endpoint"))
			case "gcs":
				settings.Type = submit.StorageGCS
			case "azure":
				settings.Type, settings.Credentials = submit.StorageAzure, &name
				t.Setenv("AZURE_STORAGE_DOMAIN", u.Query().Get("domain"))
				t.Setenv("AZURE_STORAGE_PROTOCOL", u.Query().Get("protocol"))
				t.Setenv("AZURE_STORAGE_IS_LOCAL_EMULATOR", u.Query().Get("localemu"))
			}
			b := newBed(t)
			if err := b.client.ConfigureStorage(t.Context(), "local", settings); err != nil {
				t.Fatal(err)
			}
			inv := submit.Invocation{Dir: tree(t, map[string]string{"a.txt": rand.Text()}), Include: []string{"a.txt"}, Command: sh(`printf '"%s"' "$(cat a.txt)" >"$FLOWSHIP_RESULT"`)}
			first := b.run(t, inv)
			if first.State.Type != orchestrator.TypeCompleted || len(first.Result) < 20 || !strings.Contains(first.Bundle.URL, u.Host) {
				t.Fatalf("ended %+v with %s at %s", first.State, first.Result, first.Bundle.URL)
			}
			second, err := b.client.Submit(t.Context(), inv)
			if err != nil {
				t.Fatal(err)
			}
			if state, err := b.client.Wait(t.Context(), second.ID); err != nil || state.Type != orchestrator.TypeCompleted {
				t.Errorf("ended %+v (%v)", state, err)
			}
			if result, err := b.client.Result(t.Context(), second.ID); err != nil || string(result) != string(first.Result) {
				t.Errorf("resulted in %s (%v)", result, err)
			}
			if second.Bundle.ReusedBytes == 0 {
				t.Errorf("the sidecar was sent again: %+v", second.Bundle)
			}
			if names := b.stored(t); len(names) > 0 {
				t.Errorf("stored at home: %v", names)
			}
			if _, err := b.client.DeleteFlowRun(t.Context(), first.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// What several submit at once is sent once, and what is there already costs few requests.
func TestSidecarIsSentOnce(t *testing.T) {
	store, m := metered(t)
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", u.Query().Get("endpoint"))
	b := newBed(t)
	if err := b.client.ConfigureStorage(t.Context(), "local", submit.StorageSettings{Type: submit.StorageS3, Place: u.Host}); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 2<<20)
	rand.Read(content)
	inv := submit.Invocation{Dir: tree(t, map[string]string{"a": string(content)}), Include: []string{"a"}, Command: sh("true")}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.client.SubmitToWorkPool(t.Context(), inv); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sent := m.sent.Load(); sent < int64(len(content)) || sent > int64(len(content))+512<<10 {
		t.Errorf("eight sent %d bytes for a sidecar of %d", sent, len(content))
	}
	m.reset()
	if _, err := b.client.SubmitToWorkPool(t.Context(), inv); err != nil {
		t.Fatal(err)
	}
	if n := m.requests.Load(); n < 1 || n > 4 {
		t.Errorf("a submission of what is stored made %d requests", n)
	} else {
		t.Logf("a submission of what is stored made %d requests", n)
	}
}
