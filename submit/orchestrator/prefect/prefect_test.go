package prefect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// answer is what a server says, once.
type answer struct {
	status int
	body   string
	header string // "Name: value"
}

// serve answers requests one after the other, and tells what they were.
func serveAll(t *testing.T, s prefect.Settings, answers ...answer) (*prefect.Client, *[]string) {
	t.Helper()
	requests := &[]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		line := r.Method + " " + r.URL.RequestURI()
		for _, name := range []string{"Authorization", "Prefect-Csrf-Token", "X-Custom"} {
			if v := r.Header.Get(name); v != "" {
				line += " " + name + "=" + v
			}
		}
		if len(body) > 0 {
			line += " " + string(body)
		}
		if r.Header.Get("User-Agent") != "prefect/3.8.8 (API 0.8.4)" || r.Header.Get("X-PREFECT-API-VERSION") != "0.8.4" {
			line += fmt.Sprint(" unexpected ", r.Header)
		}
		if id := r.URL.Query().Get("client"); id != "" {
			line = strings.ReplaceAll(line, id, "ID")
		}
		*requests = append(*requests, line)
		if len(*requests) > len(answers) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		a := answers[len(*requests)-1]
		if name, value, ok := strings.Cut(a.header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.status)
		io.WriteString(w, a.body)
	}))
	t.Cleanup(srv.Close)
	s.APIURL = srv.URL + "/api"
	c, err := prefect.Open(&s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, requests
}

// serve is as [serveAll]; the client sends only what it is told to, and its delays are exact.
func serve(t *testing.T, s prefect.Settings, answers ...answer) (*prefect.Client, *[]string) {
	t.Helper()
	s.NoCSRF, s.NoVersionCheck, s.Jitter = true, true, -1
	return serveAll(t, s, answers...)
}

// TestAddressAlone: who names nothing but an address has Prefect's defaults.
func TestAddressAlone(t *testing.T) {
	c, requests := serveAll(t, prefect.Settings{},
		answer{200, `"3.8.8"`, ""}, answer{422, `{"detail": "CSRF protection is disabled."}`, ""}, answer{502, "", ""}, answer{201, "{}", ""})
	waits := 0
	c.Waiting(func(time.Duration) { waits++ })
	if err := c.Post(t.Context(), "/flows/", map[string]string{"name": "f"}); err != nil {
		t.Error(err)
	}
	const post = `POST /api/flows/ {"name":"f"}`
	if diff := cmp.Diff([]string{"GET /api/admin/version", "GET /api/csrf-token?client=ID", post, post}, *requests); diff != "" || waits != 1 {
		t.Errorf("%d waits, requests (-want +got):\n%s", waits, diff)
	}
}

const document = `{"id": "1", "name": "prod", "block_type": {"slug": "aws-credentials"}, "data": {"aws_secret_access_key": "s3cr3t"}, "other": 1}`

func TestBlockDocument(t *testing.T) {
	const get = "GET /api/block_types/slug/aws-credentials/block_documents/name/prod?include_secrets=true"
	asked := strings.Replace(get, "/api/", "/", 1)
	for _, test := range []struct {
		name     string
		settings prefect.Settings
		answers  []answer
		requests []string
		waits    []time.Duration
		err      error  // what callers branch on
		text     string // of the error
	}{
		{name: "found", answers: []answer{{200, document, ""}}, requests: []string{get}},
		{
			name: "password before key, and headers", settings: prefect.Settings{AuthString: "admin:pass", APIKey: "k", Headers: map[string]prefect.Secret{"X-Custom": "c", "User-Agent": "u"}},
			answers: []answer{{200, document, ""}}, requests: []string{get + " Authorization=Basic YWRtaW46cGFzcw== X-Custom=c"},
		},
		{name: "key", settings: prefect.Settings{APIKey: "pnu_1"}, answers: []answer{{200, document, ""}}, requests: []string{get + " Authorization=Bearer pnu_1"}},
		{
			name: "repeated", settings: prefect.Settings{MaxRetries: 2}, answers: []answer{{503, `{"exception_message": "Service Unavailable"}`, ""}, {429, "", "Retry-After: 7"}, {200, document, ""}},
			requests: []string{get, get, get}, waits: []time.Duration{200 * time.Millisecond, 7 * time.Second},
		},
		{
			name: "repeated too often", settings: prefect.Settings{MaxRetries: 1}, answers: []answer{{502, "", ""}, {503, `{"exception_message": "Upgrading"}`, ""}},
			requests: []string{get, get}, waits: []time.Duration{200 * time.Millisecond}, err: prefect.ErrUnavailable,
			text: "prefect: " + asked + ": status 503 Service Unavailable: Upgrading",
		},
		{
			name: "a busy server is asked until it has time", settings: prefect.Settings{MaxRetries: 1}, answers: slices.Concat(slices.Repeat([]answer{{503, `{"exception_message": "Service Unavailable"}`, ""}}, 5), []answer{{200, document, ""}}),
			requests: slices.Repeat([]string{get}, 6), waits: []time.Duration{200 * time.Millisecond, 800 * time.Millisecond, 3200 * time.Millisecond, 3200 * time.Millisecond, 3200 * time.Millisecond},
		},
		{
			name: "maintenance does not count", settings: prefect.Settings{MaxRetries: -1}, answers: []answer{{503, "", "Prefect-Maintenance: true"}, {200, document, ""}},
			requests: []string{get, get}, waits: []time.Duration{200 * time.Millisecond},
		},
		{name: "500 is not repeated", settings: prefect.Settings{MaxRetries: 5}, answers: []answer{{500, "oops", ""}}, requests: []string{get}, err: prefect.ErrUnavailable, text: "prefect: " + asked + ": status 500 Internal Server Error"},
		{name: "unless asked for", settings: prefect.Settings{MaxRetries: 5, RetryCodes: []int{500}}, answers: []answer{{500, "", ""}, {200, document, ""}}, requests: []string{get, get}, waits: []time.Duration{200 * time.Millisecond}},
		{name: "not found", answers: []answer{{404, `{"detail": "Block Document not found"}`, ""}}, requests: []string{get}, err: orchestrator.ErrNotFound, text: "prefect: " + asked + ": status 404 Not Found: Block Document not found"},
		{name: "unauthorized", settings: prefect.Settings{AuthString: "admin:pass"}, answers: []answer{{401, `{"exception_message": "Unauthorized"}`, ""}}, requests: []string{get + " Authorization=Basic YWRtaW46cGFzcw=="}, err: prefect.ErrUnauthorized, text: "prefect: " + asked + ": status 401 Unauthorized: Unauthorized: check PREFECT_API_AUTH_STRING"},
		{name: "not JSON", answers: []answer{{200, "<html>", ""}}, requests: []string{get}, err: prefect.ErrUnavailable, text: "prefect: " + asked + ": the Prefect API is not available: the answer is not what was asked for"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, requests := serve(t, test.settings, test.answers...)
			var waits []time.Duration
			c.Waiting(func(d time.Duration) { waits = append(waits, d) })
			block, err := c.BlockDocument(t.Context(), "aws-credentials", "prod")
			if test.err == nil {
				if err != nil {
					t.Fatal(err)
				}
				if block.Name != "prod" || block.Type != "aws-credentials" || string(block.Data) != `{"aws_secret_access_key": "s3cr3t"}` {
					t.Errorf("block %q of type %q: %s", block.Name, block.Type, string(block.Data))
				}
				if text := fmt.Sprintf("%v %+v %#v %s", block, *block, *block, block.Data); strings.Contains(text, "s3cr3t") {
					t.Errorf("printed, it shows its secret: %s", text)
				}
			} else if !errors.Is(err, test.err) || err.Error() != test.text {
				t.Errorf("error %v, want %q", err, test.text)
			}
			if diff := cmp.Diff(test.requests, *requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.waits, waits); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToken(t *testing.T) {
	const (
		ask   = "GET /api/csrf-token?client=ID"
		post  = `POST /api/flows/ `
		body  = `{"name":"f"}`
		token = `{"token": "T%d", "expiration": "2999-01-01T00:00:00Z"}`
	)
	for _, test := range []struct {
		name     string
		answers  []answer
		requests []string
	}{
		{"wanted", []answer{{200, fmt.Sprintf(token, 1), ""}, {201, "{}", ""}, {201, "{}", ""}}, []string{ask, post + "Prefect-Csrf-Token=T1 " + body, post + "Prefect-Csrf-Token=T1 " + body}},
		{"not wanted", []answer{{422, `{"detail": "CSRF protection is disabled."}`, ""}, {201, "{}", ""}, {201, "{}", ""}}, []string{ask, post + body, post + body}},
		{"refused", []answer{{200, fmt.Sprintf(token, 1), ""}, {403, `{"detail": "Invalid CSRF token or client identifier."}`, ""}, {200, fmt.Sprintf(token, 2), ""}, {201, "{}", ""}, {201, "{}", ""}},
			[]string{ask, post + "Prefect-Csrf-Token=T1 " + body, ask, post + "Prefect-Csrf-Token=T2 " + body, post + "Prefect-Csrf-Token=T2 " + body}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, requests := serveAll(t, prefect.Settings{MaxRetries: 1, NoVersionCheck: true}, test.answers...)
			c.Waiting(func(time.Duration) {})
			for range 2 {
				if err := c.Post(t.Context(), "/flows/", map[string]string{"name": "f"}); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(test.requests, *requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	address := strings.Replace(srv.URL, "http://", "http://admin:s3cr3t@", 1)
	srv.Close()
	c, err := prefect.Open(&prefect.Settings{APIURL: address, MaxRetries: 5})
	if err != nil {
		t.Fatal(err)
	}
	// A server that never answered is not there: nobody waits for it.
	c.Waiting(func(d time.Duration) { t.Errorf("waits for %v", d) })
	if _, err = c.BlockDocument(t.Context(), "t", "n"); !errors.Is(err, prefect.ErrUnavailable) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %v", err)
	}
	expected, err := prefect.Open(&prefect.Settings{APIURL: address, MaxRetries: 5, Expected: true})
	if err != nil {
		t.Fatal(err)
	}
	waits := 0
	expected.Waiting(func(time.Duration) { waits++ })
	if _, err = expected.BlockDocument(t.Context(), "t", "n"); !errors.Is(err, prefect.ErrUnavailable) || waits != 5 {
		t.Errorf("a server that is expected: %d waits, error %v", waits, err)
	}
	secure, plain := httptest.NewTLSServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	defer secure.Close()
	defer plain.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, address := range []string{secure.URL, strings.Replace(plain.URL, "http:", "https:", 1)} {
		c, err := prefect.Open(&prefect.Settings{APIURL: address, MaxRetries: 5, Expected: true})
		if err != nil {
			t.Fatal(err)
		}
		c.Waiting(func(d time.Duration) { t.Errorf("waits for %v", d) })
		if _, err := c.BlockDocument(t.Context(), "t", "n"); !errors.Is(err, prefect.ErrUnavailable) {
			t.Errorf("%s: error %v", address, err)
		}
	}
	if !prefect.NobodyThere(&url.Error{Err: &net.DNSError{IsNotFound: true}}) || prefect.NobodyThere(&url.Error{Err: &net.DNSError{IsTemporary: true}}) {
		t.Error("a name that there is not, or one that is not known at the moment")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.BlockDocument(ctx, "t", "n"); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error %v", err)
	}
	for _, address := range []string{"", "ftp://h/api", "http://s3cr3t:pass word@h", "127.0.0.1:4200"} {
		if _, err := prefect.Open(&prefect.Settings{APIURL: address}); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("open %q: %v", address, err)
		}
	}
}
