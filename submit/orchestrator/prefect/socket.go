package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// socket is a WebSocket connection to the API over which JSON goes both ways. One may read while
// another one writes.
type socket struct{ conn *websocket.Conn }

const (
	// setupTime is how long a connection may take until both sides know each other.
	setupTime = 10 * time.Second
	// maxMessage is the size in bytes of the longest message.
	maxMessage = 16 << 20
	// pongTime is how long the other side may take to show that it lives.
	pongTime = 5 * time.Second
)

// upgrading are the headers of the request for a connection that the user's own do not replace.
var upgrading = []string{
	"user-agent", "host", "connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol",
}

// dial opens a connection and logs in. When ctx ends later, that does nothing to the connection.
// A server that has no such connection, or a proxy before it, answers with a [*StatusError].
func (c *Client) dial(ctx context.Context, path string) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	header := http.Header{}
	for name, value := range c.settings.Headers {
		if !slices.Contains(upgrading, strings.ToLower(name)) {
			header.Set(name, string(value))
		}
	}
	header.Set("User-Agent", "prefect/"+version+" (API "+apiVersion+")")
	// Without the time limit of requests: this one goes on for long.
	opts := &websocket.DialOptions{HTTPClient: &http.Client{Transport: c.http.Transport}, HTTPHeader: header, Subprotocols: []string{"prefect"}}
	conn, resp, err := websocket.Dial(ctx, c.api.String()+path, opts)
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &StatusError{Method: http.MethodGet, Path: path, Status: resp.StatusCode}
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the rest repeats the address, which may hold a password
		}
		return nil, fmt.Errorf("connect to %s at %s: %w", path, c.api.Redacted(), err)
	}
	conn.SetReadLimit(maxMessage)
	s := &socket{conn}
	if err := c.logIn(ctx, s); err != nil {
		conn.CloseNow()
		return nil, fmt.Errorf("connect to %s at %s: %w", path, c.api.Redacted(), err)
	}
	return s, nil
}

// logIn shows who is there. Every connection begins like this, also where nobody need be known.
func (c *Client) logIn(ctx context.Context, s *socket) error {
	var token any
	switch {
	case c.settings.AuthString != "":
		token = string(c.settings.AuthString)
	case c.settings.APIKey != "":
		token = string(c.settings.APIKey)
	}
	if err := s.send(ctx, map[string]any{"type": "auth", "token": token}); err != nil {
		return err
	}
	var answer struct {
		Type string `json:"type"`
	}
	err := s.receive(ctx, &answer)
	if websocket.CloseStatus(err) == websocket.StatusPolicyViolation || err == nil && answer.Type != "auth_success" {
		return ErrUnauthorized
	}
	return err
}

// send writes a message.
func (s *socket) send(ctx context.Context, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return s.conn.Write(ctx, websocket.MessageText, text)
}

// read waits for a message. When ctx ends, so does the connection.
func (s *socket) read(ctx context.Context) ([]byte, error) {
	_, text, err := s.conn.Read(ctx)
	return text, err
}

// receive is read for those who know what has to come.
func (s *socket) receive(ctx context.Context, message any) error {
	text, err := s.read(ctx)
	if err == nil && json.Unmarshal(text, message) != nil {
		err = errors.New("a message is not what it should be")
	}
	return err
}

// ping is an error when the other side does not answer. Somebody else has to be reading.
func (s *socket) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pongTime)
	defer cancel()
	return s.conn.Ping(ctx)
}

// leave says goodbye and closes.
func (s *socket) leave() { s.conn.Close(websocket.StatusNormalClosure, "") }

// drop closes.
func (s *socket) drop() { s.conn.CloseNow() }

// refused reports whether it makes no sense to try again soon: the server does not have what was
// asked for, or does not give it to this client.
func refused(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed}, status.Status)
	}
	code := websocket.CloseStatus(err)
	return errors.Is(err, ErrUnauthorized) || code == websocket.StatusPolicyViolation || code == websocket.StatusProtocolError
}
