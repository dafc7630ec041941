// Package prefect talks to the API of a Prefect server, or of Prefect Cloud.
//
//	settings, err := prefect.Discover(nil)
//	client, err := prefect.Open(settings)
//	run, err := client.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "train", State: pending, Lease: &lease})
//	out, err := client.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypeScheduled, ""), nil)
//	block, err := client.BlockDocument(ctx, "aws-credentials", "prod")
//
// [Discover] finds the server and how to log in where Prefect itself looks: in the environment,
// in .env, prefect.toml and pyproject.toml of the current directory and in the active profile. A
// [Client] sends what Prefect's own client sends (its version, the CSRF token of a server that
// wants one, headers of the user's) and repeats a request under the same conditions: a server on
// SQLite answers 503 now and then, and has not done anything then.
//
// A client is a backend as package orchestrator describes it. The server knows nothing of leases,
// bundles and priorities: they are labels of the flow run whose names begin with "flowship.", which
// are not shown among the user's. What the server lets pass and the rules of package orchestrator
// do not is refused before it is asked, see [Client.SetState].
//
// Secrets, which are the key, the password and what a block holds, are in no error and in no
// printed form of [Settings] and [Block].
package prefect

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Errors that callers branch on; they come wrapped with what they are about.
var (
	// ErrNoAPI: the settings name no API.
	ErrNoAPI = errors.New("no Prefect API is configured: PREFECT_API_URL is not set, and no profile sets it")
	// ErrUnauthorized: the API wants another key or password, or none is configured.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnavailable: the API cannot be reached, or does not answer as it should.
	ErrUnavailable = errors.New("the Prefect API is not available")
)

// The versions that requests name. The server answers as it does to that version of Prefect.
const (
	version    = "3.8.8"
	apiVersion = "0.8.4"
)

// atATime is how many requests a client sends at a time. More make a server slower: one on SQLite
// then does nothing but refuse them.
const atATime = 8

// Client sends requests. It is safe for concurrent use.
type Client struct {
	settings *Settings
	api      *url.URL
	http     *http.Client
	id       string // of this client, to the protection from CSRF
	answered atomic.Bool
	turns    chan struct{} // holds an element for each request that is under way
	wait     func(context.Context, time.Duration) error

	mu    sync.Mutex // guards the token
	token csrfToken

	clock     clock
	version   versionCheck
	chosen    chosenPool
	served    served
	flows     flowNames
	proposals proposals
	leases    leases
	logs      seenLogs

	runs      locks // for states, by flow run
	pools     locks // for claims, by work pool
	labelling locks // by flow run
	reading   locks // of logs, by flow run

	losses       losses
	lossInterval time.Duration

	workers workers
}

// Open returns a client for the API that the settings name. It sends nothing yet.
func Open(settings *Settings) (*Client, error) {
	s := settings.complete()
	if s.APIURL == "" {
		return nil, fmt.Errorf("prefect: %w", ErrNoAPI)
	}
	api, err := url.Parse(s.APIURL)
	if err != nil || api.Scheme != "http" && api.Scheme != "https" || api.Host == "" {
		// The address may hold a password, and so may the error.
		return nil, errors.New("prefect: PREFECT_API_URL is not the address of an API, such as http://127.0.0.1:4200/api")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: s.SkipVerify}
	if s.CertFile != "" {
		pem, err := os.ReadFile(s.CertFile)
		if err != nil {
			return nil, fmt.Errorf("prefect: certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("prefect: certificates: %q holds none", s.CertFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	transport.MaxIdleConnsPerHost = atATime
	c := &Client{
		settings: s, api: api, http: &http.Client{Transport: transport, Timeout: max(s.Timeout, 0)}, id: uuid.NewString(), wait: wait,
		lossInterval: lossInterval, turns: make(chan struct{}, atATime),
	}
	c.token.off = s.NoCSRF || s.Cloud
	return c, nil
}

// Close gives up the connections.
func (c *Client) Close() error {
	c.workers.close()
	c.http.CloseIdleConnections()
	return nil
}

// StatusError is an answer that is no success.
type StatusError struct {
	Method, Path string
	Status       int
	Detail       string // what the server says, or ""
	Check        string // the setting that may be wrong, or ""
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: status %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Check != "" {
		text += ": check " + e.Check
	}
	return text
}

// Is tells what callers branch on.
func (e *StatusError) Is(target error) bool {
	switch e.Status {
	case http.StatusNotFound:
		return target == orchestrator.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == ErrUnauthorized
	}
	return target == ErrUnavailable && (e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout)
}

// maxAnswer is the size in bytes of the longest answer.
const maxAnswer = 64 << 20

// call sends a request, with body as JSON unless it is nil, and decodes the answer, unless
// answer is nil. The path starts with a slash and may have a query.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	return c.callOnce(ctx, method, path, body, answer, nil)
}

// callOnce is a call of something that the server would do twice. Before it is sent again, because
// it is not known whether the server did it, undone is asked; its error ends the call.
func (c *Client) callOnce(ctx context.Context, method, path string, body, answer any, undone func(context.Context) error) error {
	if err := c.checkVersion(ctx); err != nil {
		return fmt.Errorf("prefect: %w", err)
	}
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return fmt.Errorf("prefect: %s %s: %w", method, path, err)
		}
	}
	got, err := c.repeat(ctx, method, path, sent, undone)
	if err != nil {
		return fmt.Errorf("prefect: %w", unprefixed(err)) // undone may have called as well
	}
	if answer == nil {
		return nil
	}
	if json.Unmarshal(got, answer) != nil {
		return fmt.Errorf("prefect: %s %s: %w: the answer is not what was asked for", method, path, ErrUnavailable)
	}
	return nil
}

// response is an answer that has come to its end.
type response struct {
	status int
	header http.Header
	body   []byte
}

// once sends the request a single time.
func (c *Client) once(ctx context.Context, method, path string, body []byte) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.api.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("not a valid request")
	}
	req.Header.Set("User-Agent", "prefect/"+version+" (API "+apiVersion+")")
	req.Header.Set("X-Prefect-Api-Version", apiVersion)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch s := c.settings; {
	case s.AuthString != "":
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s.AuthString)))
	case s.APIKey != "":
		req.Header.Set("Authorization", "Bearer "+string(s.APIKey))
	}
	for name, value := range c.settings.Attribution {
		req.Header.Set(name, value)
	}
	for name, value := range c.settings.Headers {
		if !slices.Contains(reserved, strings.ToLower(name)) {
			req.Header.Set(name, string(value))
		}
	}
	if method != http.MethodGet && method != http.MethodHead {
		if err := c.protect(ctx, req); err != nil {
			return nil, err
		}
	}
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	sent := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	c.answered.Store(true)
	c.clock.heard(resp.Header.Get("Date"), sent, time.Now())
	r := &response{status: resp.StatusCode, header: resp.Header}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(r.body) > maxAnswer {
		err = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return r, err
}

// reserved are the headers that the user's own do not replace.
var reserved = []string{"user-agent", "prefect-csrf-token", "prefect-csrf-client"}

// detail is what the server says about a failure, with the fields that it does not like. What it
// repeats of the request is left out.
func (r *response) detail() string {
	var said struct {
		Message string          `json:"exception_message"`
		Detail  json.RawMessage `json:"detail"`
		Fields  json.RawMessage `json:"exception_detail"`
	}
	if json.Unmarshal(r.body, &said) != nil {
		return ""
	}
	text := said.Message
	if text == "" && json.Unmarshal(said.Detail, &text) != nil {
		text = fields(said.Detail)
	}
	if list := fields(said.Fields); list != "" {
		text = strings.TrimSuffix(text, ".") + ": " + list
	}
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// fields says what is wrong with which fields of a request.
func fields(text json.RawMessage) string {
	var wrong []struct {
		Place   []any  `json:"loc"`
		Message string `json:"msg"`
	}
	if json.Unmarshal(text, &wrong) != nil {
		return ""
	}
	var list []string
	for _, w := range wrong {
		var place []string
		for _, step := range w.Place {
			place = append(place, fmt.Sprint(step))
		}
		list = append(list, strings.Join(place, ".")+": "+w.Message)
	}
	return strings.Join(list, "; ")
}
