package storage_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
)

// fault stands between a client and a real server. It may answer itself, or pass the request on.
type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

// proxy passes requests on to a real server, and has a fault handle those that are to fail.
type proxy struct {
	address string
	mu      sync.Mutex
	fault   fault
	seen    []string // method and path of each request
}

// openProxied opens an empty part of a bucket on a real server, through a proxy.
func openProxied(t *testing.T, server string, patience time.Duration) (*storage.Store, *proxy) {
	t.Helper()
	u := bucketURL(t, server)
	query := u.Query()
	target := ""
	switch server {
	case "s3":
		target = strings.TrimPrefix(query.Get("endpoint"), "http://")
	case "gcs":
		target = os.Getenv("STORAGE_EMULATOR_HOST")
	case "azure":
		target = query.Get("domain")
	}
	// The host is part of what S3 has signed; the one for Google looks at it.
	p := newProxy(t, target, server != "gcs")
	switch server {
	case "s3":
		query.Set("endpoint", "http://"+p.address)
	case "gcs":
		os.Setenv("STORAGE_EMULATOR_HOST", p.address)
		defer os.Setenv("STORAGE_EMULATOR_HOST", target)
	case "azure":
		query.Set("domain", p.address)
	}
	u.RawQuery = query.Encode()
	s, err := storage.Open(t.Context(), u.String(), &storage.OpenOptions{Patience: patience, Openers: gocloud.Openers(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, p
}

func newProxy(t *testing.T, target string, keepHost bool) *proxy {
	t.Helper()
	p := &proxy{}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			if keepHost {
				r.Out.Host = r.In.Host
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if to := r.Header.Get("Location"); to != "" { // where an upload goes on
				r.Header.Set("Location", strings.Replace(to, target, p.address, 1))
			}
			return nil
		},
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		f := p.fault
		p.seen = append(p.seen, r.Method+" "+r.URL.Path)
		p.mu.Unlock()
		if f == nil {
			f = func(w http.ResponseWriter, r *http.Request, pass http.Handler) { pass.ServeHTTP(w, r) }
		}
		f(w, r, reverse)
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	p.address = server.Listener.Addr().String()
	return p
}

func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.seen = f, nil
}

func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// always and times say how often a fault strikes; every other request is passed on.
const always = 1 << 30

func times(n int, of func(*http.Request) bool, f fault) func() fault {
	return func() fault { return strikes(n, of, f) }
}

func strikes(n int, of func(*http.Request) bool, f fault) fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		mu.Lock()
		now := of(r) && n > 0
		if now {
			n--
		}
		mu.Unlock()
		if now {
			f(w, r, pass)
		} else {
			pass.ServeHTTP(w, r)
		}
	}
}

// afterFirst has a fault strike once, at the second request of a kind.
func afterFirst(of func(*http.Request) bool, f fault) fault {
	var mu sync.Mutex
	seen := 0
	return strikes(1, func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if of(r) {
			seen++
		}
		return of(r) && seen > 1
	}, f)
}

func anyRequest(*http.Request) bool { return true }

// sendsContent and getsContent tell the requests that carry an object from those about it.
func sendsContent(r *http.Request) bool {
	return r.Method == http.MethodPut && (r.ContentLength > 1000 || r.ContentLength < 0) || r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/upload/")
}

func getsContent(r *http.Request) bool {
	q := r.URL.Query()
	return r.Method == http.MethodGet && q.Get("alt") != "json" && !q.Has("list-type") && !q.Has("comp") && (q.Get("alt") == "media" || !strings.HasPrefix(r.URL.Path, "/storage/v1"))
}

// answer refuses with a status, in the words of S3.
func answer(status int, code string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>as the test wants it</Message></Error>`)
		}
	}
}

// cutUpload ends the connection in the middle of what the client sends.
func cutUpload(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.CopyN(io.Discard, r.Body, 1000)
	panic(http.ErrAbortHandler)
}

// cutDownload ends the connection after some bytes of the response's body.
func cutDownload(bytes int) fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		after := bytes
		pass.ServeHTTP(&writer{ResponseWriter: w, write: func(w io.Writer, p []byte) (int, error) {
			if after -= len(p); after < 0 {
				w.Write(p[:max(0, len(p)+after)])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return w.Write(p)
		}}, r)
	}
}

// flip changes the first byte of the response's body.
func flip(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	flipped := false
	pass.ServeHTTP(&writer{ResponseWriter: w, write: func(w io.Writer, p []byte) (int, error) {
		if !flipped && len(p) > 0 {
			flipped = true
			p = append([]byte{p[0] ^ 1}, p[1:]...)
		}
		return w.Write(p)
	}}, r)
}

// hang never answers.
func hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	io.Copy(io.Discard, r.Body) // else the end of the client is not seen
	<-r.Context().Done()
}

// before does something else before the request is passed on.
func before(do func()) fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		do()
		pass.ServeHTTP(w, r)
	}
}

// writer has a function between a response's body and the client.
type writer struct {
	http.ResponseWriter
	write func(w io.Writer, p []byte) (int, error)
}

func (w *writer) Write(p []byte) (int, error) { return w.write(w.ResponseWriter, p) }
func (w *writer) Flush()                      { w.ResponseWriter.(http.Flusher).Flush() }
