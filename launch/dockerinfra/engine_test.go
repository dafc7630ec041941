package dockerinfra

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The engine is that of the docker command.
func TestDiscover(t *testing.T) {
	folder := func(name string) string {
		sum := sha256.Sum256([]byte(name))
		return hex.EncodeToString(sum[:])
	}
	dir := t.TempDir()
	t.Setenv(config.EnvOverrideConfigDir, dir)
	meta := func(name, content string) {
		write(t, filepath.Join(dir, "contexts", "meta", folder(name), "meta.json"), content)
	}
	meta("colima", `{"Name":"colima","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///c/docker.sock","SkipTLSVerify":false}}}`)
	meta("far", `{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far.example:2376","SkipTLSVerify":true}}}`)
	meta("kube", `{"Name":"kube","Endpoints":{}}`)
	meta("broken", `{`)
	certs := filepath.Join(dir, "contexts", "tls", folder("far"), "docker")
	write(t, filepath.Join(certs, "ca.pem"), "")
	for _, test := range []struct {
		name, config string
		env          map[string]string
		want         endpoint
		base         string
		err          string
	}{
		{"nothing", "", nil, endpoint{host: client.DefaultDockerHost}, "", ""},
		{"no current context", `{"auths":{}}`, nil, endpoint{host: client.DefaultDockerHost}, "", ""},
		{"the default one", `{"currentContext":"default"}`, nil, endpoint{host: client.DefaultDockerHost}, "", ""},
		{"the current context", `{"currentContext":"colima"}`, nil, endpoint{host: "unix:///c/docker.sock"}, "http+docker://localhost", ""},
		{"DOCKER_CONTEXT", `{"currentContext":"colima"}`, map[string]string{"DOCKER_CONTEXT": "far"},
			endpoint{host: "tcp://far.example:2376", certs: certs, skipVerify: true}, "https://far.example:2376", ""},
		{"DOCKER_HOST", `{"currentContext":"colima"}`, map[string]string{"DOCKER_CONTEXT": "far", "DOCKER_HOST": "tcp://1.2.3.4:2375"},
			endpoint{host: "tcp://1.2.3.4:2375", skipVerify: true}, "http://1.2.3.4:2375", ""},
		{"with TLS", "", map[string]string{"DOCKER_HOST": "tcp://a:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": certs},
			endpoint{host: "tcp://a:2376", certs: certs}, "https://a:2376", ""},
		{"with TLS from the default place", "", map[string]string{"DOCKER_HOST": "tcp://a:2376", "DOCKER_TLS_VERIFY": "1"},
			endpoint{host: "tcp://a:2376", certs: dir}, "https://a:2376", ""},
		{"ssh", "", map[string]string{"DOCKER_HOST": "ssh://me@there"}, endpoint{host: "ssh://me@there", skipVerify: true}, "http+docker://ssh", ""},
		{"no such context", `{"currentContext":"gone"}`, nil, endpoint{}, "", `there is no Docker context "gone"`},
		{"without an engine", `{"currentContext":"kube"}`, nil, endpoint{}, "", `the Docker context "kube" names no engine`},
		{"broken", `{"currentContext":"broken"}`, nil, endpoint{}, "", `the Docker context "broken": unexpected end`},
		{"broken configuration", `{`, nil, endpoint{}, "", "the docker command's configuration: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"} {
				t.Setenv(name, test.env[name])
			}
			if test.config == "" {
				os.Remove(filepath.Join(dir, "config.json"))
			} else {
				write(t, filepath.Join(dir, "config.json"), test.config)
			}
			got, err := discover()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(endpoint{})); diff != "" {
				t.Errorf("endpoint (-want +got):\n%s", diff)
			}
			if base := baseURL(got); test.base != "" && base != test.base {
				t.Errorf("base %q, want %q", base, test.base)
			}
		})
	}
}

// An engine behind TLS is only talked to when its certificate is the right one.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.44") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	certs, empty := t.TempDir(), t.TempDir()
	write(t, filepath.Join(certs, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	for _, test := range []struct {
		certs, verify, version, err string
	}{
		{certs, "1", "1.44", ""},
		{empty, "", "1.44", ""},
		{empty, "1", "", "certificate signed by unknown authority"},
	} {
		t.Setenv("DOCKER_HOST", "tcp://"+s.Listener.Addr().String())
		t.Setenv("DOCKER_TLS_VERIFY", test.verify)
		t.Setenv("DOCKER_CERT_PATH", test.certs)
		e, err := newEngine("", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		version, err := e.agree(t.Context())
		if version != test.version || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("verify %q: %q, %v, want %q, %s", test.verify, version, err, test.version, test.err)
		}
		e.api.Close()
	}
}

// What the engine's library says of a socket is said so that one knows what to do.
func TestFault(t *testing.T) {
	e := &engine{host: "unix:///x.sock", patience: time.Minute}
	cause := errors.New(daemonPrefix + "conflict")
	if err := e.fault(cause); err.Error() != "conflict" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	denied := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrPermission}
	}
	api, err := client.New(client.WithHost(e.host), client.WithDialContext(denied))
	if err != nil {
		t.Fatal(err)
	}
	e.api = api
	if _, err := e.agree(t.Context()); err == nil || !strings.Contains(err.Error(), `no permission to talk to the Docker engine at "unix:///x.sock"`) {
		t.Errorf("%v", err)
	}
	other := errors.New("other")
	if err := e.fault(other); err != other {
		t.Errorf("%v", err)
	}
}
