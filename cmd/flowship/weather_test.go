//go:build unix

package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// weather is a proxy before a real server where things go wrong as a test says.
type weather struct {
	url string // of the proxy

	errorf  func(string, ...any)
	forward http.Handler
	address string
	srv     *http.Server
	serving sync.WaitGroup
	outages sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while the server is away
	conns    map[net.Conn]bool
	sockets  map[net.Conn]bool // those of WebSockets
	seen     map[string]int    // how many requests of each kind there were
	mood     mood
}

// mood says what goes wrong with a request, the nth of its kind; nil: nothing does.
type mood func(r *http.Request, kind string, nth int) *fault

// fault is what goes wrong with a request. What the server has not answered yet it never gets,
// unless done says otherwise.
type fault struct {
	first  func()        // is called before anything else
	delay  time.Duration // before the request goes on
	done   bool          // the server does what it is asked for, only its answer is lost
	status int           // what is answered instead; 0: the server's own answer
	body   string
	header string        // "Name: value"
	cut    bool          // the connection breaks in place of an answer
	away   time.Duration // how long nobody can connect from then on
}

func newWeather(t *testing.T, server string) *weather {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	// The server closes connections that nobody uses for five seconds: none is used that late.
	transport := &http.Transport{IdleConnTimeout: 2 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	w := &weather{errorf: t.Errorf, forward: proxy, conns: map[net.Conn]bool{}, sockets: map[net.Conn]bool{}, seen: map[string]int{}}
	w.srv = &http.Server{Handler: w, ErrorLog: proxy.ErrorLog}
	w.srv.ConnState = func(c net.Conn, state http.ConnState) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if state == http.StateHijacked {
			w.sockets[c] = true
		}
	}
	w.address = "127.0.0.1:0"
	w.appear()
	w.url = "http://" + w.address + target.Path
	t.Cleanup(func() {
		w.set(nil)
		w.outages.Wait()
		w.disappear()
		w.serving.Wait()
	})
	return w
}

// set has everything that is asked from now on go wrong like this; nil: nothing does.
func (w *weather) set(m mood) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mood, w.seen = m, map[string]int{}
}

// count is how many requests of this kind there were since the weather was set.
func (w *weather) count(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[kind]
}

// watched is a listener that knows its connections, those of WebSockets as well.
type watched struct {
	net.Listener
	w *weather
}

func (l watched) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.w.listener == nil {
		c.Close()
	}
	l.w.conns[c] = true
	return c, nil
}

func (w *weather) appear() {
	var l net.Listener
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if l, err = net.Listen("tcp", w.address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			w.errorf("the proxy cannot come back: %v", err)
			return
		}
	}
	w.mu.Lock()
	w.address, w.listener = l.Addr().String(), l
	w.mu.Unlock()
	w.serving.Go(func() { w.srv.Serve(watched{l, w}) })
}

// disappear breaks all connections and takes no new ones.
func (w *weather) disappear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		w.listener.Close()
		w.listener = nil
	}
	w.cut()
}

// cutSockets breaks the WebSockets.
func (w *weather) cutSockets() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.sockets {
		c.Close()
	}
	clear(w.sockets)
}

func (w *weather) cut() {
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// kindOfRequest is the method and the path, with the word ID for ids and in place of names of work pools.
func kindOfRequest(r *http.Request) string {
	words := strings.Split(strings.TrimPrefix(r.URL.Path, "/api"), "/")
	for i, word := range words {
		if uuid.Validate(word) == nil || i > 0 && words[i-1] == "work_pools" && word != "" {
			words[i] = "ID"
		}
	}
	if r.Header.Get("Upgrade") != "" {
		return "WS " + path.Join(words...)
	}
	return r.Method + " " + path.Join(words...)
}

func (w *weather) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	kind := kindOfRequest(r)
	w.mu.Lock()
	w.seen[kind]++
	nth, find := w.seen[kind], w.mood
	w.mu.Unlock()
	var f *fault
	if find != nil {
		f = find(r, kind, nth)
	}
	if f == nil {
		w.forward.ServeHTTP(rw, r)
		return
	}
	if f.first != nil {
		f.first()
	}
	if f.delay > 0 {
		delay := time.NewTimer(f.delay)
		defer delay.Stop()
		select {
		case <-delay.C:
		case <-r.Context().Done(): // nobody waits for the answer
			panic(http.ErrAbortHandler)
		}
	}
	lost := f.status != 0 || f.cut || f.away > 0
	if !lost {
		w.forward.ServeHTTP(rw, r)
		return
	}
	if f.done {
		w.forward.ServeHTTP(httptest.NewRecorder(), r)
	}
	if f.away > 0 {
		w.outages.Go(func() {
			w.disappear()
			time.Sleep(f.away)
			w.appear()
		})
	}
	if f.status == 0 {
		panic(http.ErrAbortHandler)
	}
	if name, value, ok := strings.Cut(f.header, ": "); ok {
		rw.Header().Set(name, value)
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(f.status)
	io.WriteString(rw, f.body)
}
