package prefect_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// proxy stands between a client and a real server.
type proxy struct {
	api string // of the server, through the proxy

	mu       sync.Mutex
	deaf     bool     // has no WebSocket connections
	requests []string // method and path
	conns    map[net.Conn]struct{}
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	target, err := url.Parse(started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{conns: map[net.Conn]struct{}{}}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		refuse := p.deaf && r.Header.Get("Upgrade") != ""
		p.requests = append(p.requests, r.Method+" "+r.URL.Path)
		p.mu.Unlock()
		if refuse {
			http.NotFound(w, r)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	srv.Config.ConnState = func(c net.Conn, state http.ConnState) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if state == http.StateClosed {
			delete(p.conns, c)
		} else {
			p.conns[c] = struct{}{}
		}
	}
	srv.Start()
	t.Cleanup(func() {
		p.cut()
		srv.Close()
	})
	p.api = srv.URL + target.Path
	return p
}

// cut breaks all connections in the middle.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) refuseSockets() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = true
}

// count is how many requests there were whose method and path end like this.
func (p *proxy) count(suffix string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if strings.HasSuffix(r, suffix) {
			n++
		}
	}
	return n
}

func (p *proxy) open(t *testing.T) *prefect.Client {
	t.Helper()
	c, err := prefect.Open(&prefect.Settings{APIURL: p.api, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
