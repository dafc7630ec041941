package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// csrfToken shows the server that a request that changes something comes from this client.
type csrfToken struct {
	off     bool // the server does not want any
	value   string
	expires time.Time
}

// protect adds the token to a request, after it has asked for one where there is none that holds.
func (c *Client) protect(ctx context.Context, req *http.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.off {
		return nil
	}
	if c.token.value == "" || !time.Now().Before(c.token.expires) {
		if err := c.askForToken(ctx); err != nil || c.token.off {
			return err
		}
	}
	req.Header.Set("Prefect-Csrf-Token", c.token.value)
	req.Header.Set("Prefect-Csrf-Client", c.id)
	return nil
}

// tokenRefusal: the server gives no token.
type tokenRefusal struct {
	*StatusError
	answer *response
}

func (e *tokenRefusal) Unwrap() error { return e.StatusError }

func (c *Client) askForToken(ctx context.Context) error {
	const path = "/csrf-token"
	r, err := c.once(ctx, http.MethodGet, path+"?client="+url.QueryEscape(c.id), nil)
	if err != nil {
		return err
	}
	switch {
	case r.status == http.StatusNotFound,
		r.status == http.StatusUnprocessableEntity && strings.Contains(r.detail(), "CSRF protection is disabled"):
		c.token.off = true
		return nil
	case r.status != http.StatusOK:
		return &tokenRefusal{&StatusError{Method: http.MethodGet, Path: path, Status: r.status, Detail: r.detail()}, r}
	}
	var token struct {
		Token      string    `json:"token"`
		Expiration time.Time `json:"expiration"`
	}
	if err := json.Unmarshal(r.body, &token); err != nil || token.Token == "" {
		return &tokenRefusal{&StatusError{Method: http.MethodGet, Path: path, Status: r.status, Detail: "the answer holds no token"}, r}
	}
	c.token.value, c.token.expires = token.Token, token.Expiration
	return nil
}

// renewToken reports whether the answer refuses the token, which is then forgotten.
func (c *Client) renewToken(r *response) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.off || r.status != http.StatusForbidden || !bytes.Contains(r.body, []byte("Invalid CSRF token")) {
		return false
	}
	c.token.value = ""
	return true
}
