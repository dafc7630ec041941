package prefect_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// TestTLS: before the server is a proxy with a certificate of its own, that lets nobody in without
// a header. What requests and connections have in common is tried with both.
func TestTLS(t *testing.T) {
	settings := plain(t)
	target, err := url.Parse(settings.APIURL)
	must(t, err)
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Gate") != "open" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	settings.APIURL = srv.URL + target.Path
	cert := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	gate := map[string]prefect.Secret{"x-gate": "open"}
	for _, test := range []struct {
		name string
		set  func(*prefect.Settings)
		err  error
		text string
	}{
		{"a certificate that is named", func(s *prefect.Settings) { s.CertFile, s.Headers = cert, gate }, nil, ""},
		{"not verified", func(s *prefect.Settings) { s.SkipVerify, s.Headers = true, gate }, nil, ""},
		{"not trusted", func(s *prefect.Settings) { s.Headers = gate }, prefect.ErrUnavailable, "certificate"},
		{"without the header", func(s *prefect.Settings) { s.CertFile = cert }, prefect.ErrUnauthorized, "status 403"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := settings
			test.set(&s)
			c := open(t, s)
			_, err := c.EnsureFlow(t.Context(), "tls")
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if test.err != nil {
				cancel()
			}
			var connected atomic.Bool
			c.Notify(ctx, func(string, orchestrator.StateType) {}, func(is bool) {
				if is {
					connected.Store(true)
					cancel()
				}
			})
			if connected.Load() != (test.err == nil) {
				t.Errorf("connected: %v", connected.Load())
			}
		})
	}
}
