package gcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Error is what the service answered instead of what was asked for.
type Error struct {
	StatusCode int
	Message    string // the service's own, may be ""
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("status %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	return fmt.Sprintf("status %d: %s", e.StatusCode, e.Message)
}

// HTTPStatusCode is the status of the answer.
func (e *Error) HTTPStatusCode() int { return e.StatusCode }

// Requests that fail are made again for so long, at intervals that double.
const (
	retryTime     = 30 * time.Second
	firstInterval = 100 * time.Millisecond
	longest       = 8 * time.Second
)

// do makes a request until it is answered. The body of the answer is the caller's to close. An
// answer with another status than one of 2xx and those that are wanted is an [*Error].
func (b *bucket) do(ctx context.Context, method, address string, header http.Header, body []byte, wanted ...int) (*http.Response, error) {
	deadline, interval := time.Now().Add(retryTime), firstInterval
	for {
		resp, err := b.once(ctx, method, address, header, body, wanted)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return resp, err
		}
		wait := interval/2 + rand.N(interval)
		if time.Now().Add(wait).After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
		interval = min(2*interval, longest)
	}
}

func (b *bucket) once(ctx context.Context, method, address string, header http.Header, body []byte, wanted []int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	sent := &lent{rest: body}
	if body != nil {
		req.Body, req.ContentLength = sent, int64(len(body))
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := b.client.Do(req)
	if err != nil {
		sent.Close()
		return nil, withoutURL(err)
	}
	resp.Body = &answer{resp.Body, sent}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	for _, status := range wanted {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	return nil, errorOf(resp)
}

// lent is the body of a request. Transports may go on to read it after the answer has come: once it
// is closed, what it was made of is the caller's alone again.
type lent struct {
	mu     sync.Mutex
	rest   []byte
	closed bool
}

func (l *lent) Read(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(l.rest) == 0:
		return 0, io.EOF
	}
	n = copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.rest = true, nil
	return nil
}

// answer is the body of an answer, with which the one of its request is closed.
type answer struct {
	io.ReadCloser
	request *lent
}

func (a *answer) Close() error {
	a.request.Close()
	return a.ReadCloser.Close()
}

// passing reports whether the same request may be answered the next time.
func passing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		_, network := errors.AsType[*requestError](err)
		return network
	}
	return e.StatusCode == http.StatusRequestTimeout || e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500
}

// requestError is that of a request that got no answer, without its URL: that of a resumable
// upload is a secret for as long as it lasts.
type requestError struct {
	method string
	err    error
}

func (e *requestError) Error() string { return e.method + ": " + e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return &requestError{strings.ToUpper(u.Op), u.Err}
	}
	return err
}

// longestMessage of an error that is read.
const longestMessage = 64 << 10

// errorOf reads what the service says about a failure, and closes the answer.
func errorOf(resp *http.Response) error {
	defer resp.Body.Close()
	e := &Error{StatusCode: resp.StatusCode}
	text, err := io.ReadAll(io.LimitReader(resp.Body, longestMessage))
	if err != nil {
		return e
	}
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &said) == nil {
		e.Message = said.Error.Message
	}
	return e
}

// resource is what the service says about an object.
type resource struct {
	Name        string            `json:"name,omitempty"`
	Size        string            `json:"size,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Updated     time.Time         `json:"updated,omitzero"`
	Created     time.Time         `json:"timeCreated,omitzero"`
	MD5         []byte            `json:"md5Hash,omitempty"`
	ETag        string            `json:"etag,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

func (r *resource) size() (int64, error) {
	if r.Size == "" {
		return 0, nil
	}
	return strconv.ParseInt(r.Size, 10, 64)
}

// decode reads an answer and closes it.
func decode(resp *http.Response, into any) error {
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}
