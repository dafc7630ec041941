package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRegistry starts a container registry and sets a variable to its host: registry HOST. With a
// second word, it asks for that user and password: registry HOST me:secret.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: registry VARIABLE [USER:PASSWORD]")
	}
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if len(args) == 2 {
		open := serve
		serve = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if user+":"+password != args[1] {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			open.ServeHTTP(w, r)
		})
	}
	s := httptest.NewServer(serve)
	ts.Defer(s.Close)
	ts.Setenv(args[0], strings.TrimPrefix(s.URL, "http://"))
}
