package dockerinfra

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/go-connections/tlsconfig"
	"github.com/moby/moby/client"
)

// engine is a Docker engine.
type engine struct {
	api  *client.Client
	host string // as it is configured
	base string // as Prefect's worker writes it
	// patience is how long a question may take.
	patience time.Duration

	mu      sync.Mutex
	version string // of the API that both know, once the engine has answered
}

// agree returns the version of the API that both know; the first time, the engine is asked.
func (e *engine) agree(ctx context.Context) (string, error) {
	e.mu.Lock()
	version := e.version
	e.mu.Unlock()
	if version != "" {
		return version, nil
	}
	ctx, cancel := e.patiently(ctx, 0)
	defer cancel()
	if _, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return "", e.because(ctx, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version = e.api.ClientVersion()
	return e.version, nil
}

// patiently returns a context for a question that may take this long beside the patience: an engine
// that hangs takes all of them, and answers none.
func (e *engine) patiently(ctx context.Context, beside time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, beside+e.patience, fmt.Errorf("the Docker engine at %q does not answer", e.host))
}

// endpoint says how an engine is reached.
type endpoint struct {
	host       string
	certs      string // directory with ca.pem, cert.pem and key.pem, or ""
	skipVerify bool
}

func newEngine(host string, patience time.Duration) (*engine, error) {
	at := endpoint{host: host}
	if host == "" {
		var err error
		if at, err = discover(); err != nil {
			return nil, err
		}
	}
	e := &engine{host: at.host, patience: patience}
	opts := []client.Opt{client.WithAPIVersionFromEnv()}
	if at.certs != "" {
		tls, err := tlsconfig.Client(at.tls())
		if err != nil {
			return nil, fmt.Errorf("the Docker engine at %q: %w", at.host, err)
		}
		opts = append(opts, client.WithHTTPClient(&http.Client{Transport: &http.Transport{TLSClientConfig: tls}, CheckRedirect: client.CheckRedirect}))
	}
	helper, err := connhelper.GetConnectionHelper(at.host)
	if err != nil {
		return nil, fmt.Errorf("the Docker engine at %q: %w", at.host, err)
	}
	if helper != nil {
		opts = append(opts, client.WithHost(helper.Host), client.WithDialContext(helper.Dialer))
	} else {
		opts = append(opts, client.WithHost(at.host))
	}
	if e.api, err = client.New(opts...); err != nil {
		return nil, fmt.Errorf("the Docker engine at %q: %w", at.host, err)
	}
	e.base = baseURL(at)
	return e, nil
}

// baseURL is the address as Docker's library for Python writes it.
func baseURL(at endpoint) string {
	scheme, address, _ := strings.Cut(at.host, "://")
	switch scheme {
	case "unix":
		return "http+docker://localhost"
	case "npipe":
		return "http+docker://localnpipe"
	case "ssh":
		return "http+docker://ssh"
	}
	address = strings.TrimRight(address, "/")
	if at.certs != "" || scheme == "https" {
		return "https://" + address
	}
	return "http://" + address
}

func (at endpoint) tls() tlsconfig.Options {
	opts := tlsconfig.Options{InsecureSkipVerify: at.skipVerify, ExclusiveRootPools: true}
	file := func(name string) string {
		path := filepath.Join(at.certs, name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		return path
	}
	opts.CAFile, opts.CertFile, opts.KeyFile = file("ca.pem"), file("cert.pem"), file("key.pem")
	return opts
}

// Endpoint is how the docker command reaches its engine: the address and, for one that wants them,
// the directory with certificates. See [Options.Host].
func Endpoint() (host, certs string, err error) {
	at, err := discover()
	return at.host, at.certs, err
}

// discover finds the engine that the docker command talks to.
func discover() (endpoint, error) {
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		at := endpoint{host: host, certs: os.Getenv(client.EnvOverrideCertPath), skipVerify: os.Getenv(client.EnvTLSVerify) == ""}
		if at.certs == "" && !at.skipVerify {
			at.certs = configDir()
		}
		if !strings.HasPrefix(host, "tcp:") && !strings.HasPrefix(host, "http") {
			at.certs = ""
		}
		return at, nil
	}
	name := os.Getenv("DOCKER_CONTEXT")
	if name == "" {
		file, err := config.Load(configDir())
		if err != nil {
			return endpoint{}, fmt.Errorf("the docker command's configuration: %w", err)
		}
		name = file.CurrentContext
	}
	if name == "" || name == "default" {
		return endpoint{host: client.DefaultDockerHost}, nil
	}
	return fromContext(filepath.Join(configDir(), "contexts"), name)
}

// configDir is where the docker command has its configuration, as the environment says now; the
// library remembers what it said first.
func configDir() string {
	if dir := os.Getenv(config.EnvOverrideConfigDir); dir != "" {
		return dir
	}
	home, _ := os.UserHomeDir() // without one there is no file either
	return filepath.Join(home, ".docker")
}

// fromContext reads a context of the docker command. Its directories are named by the digest of
// the context's name.
func fromContext(dir, name string) (endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	folder := hex.EncodeToString(sum[:])
	source, err := os.ReadFile(filepath.Join(dir, "meta", folder, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return endpoint{}, fmt.Errorf("there is no Docker context %q", name)
	} else if err != nil {
		return endpoint{}, fmt.Errorf("the Docker context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(source, &meta); err != nil {
		return endpoint{}, fmt.Errorf("the Docker context %q: %w", name, err)
	}
	docker := meta.Endpoints["docker"]
	if docker.Host == "" {
		return endpoint{}, fmt.Errorf("the Docker context %q names no engine", name)
	}
	at := endpoint{host: docker.Host, skipVerify: docker.SkipTLSVerify}
	if certs := filepath.Join(dir, "tls", folder, "docker"); isDir(certs) {
		at.certs = certs
	}
	return at, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// daemonPrefix is how the engine's own words begin.
const daemonPrefix = "Error response from daemon: "

// fault is what went wrong, in words that say what to do about it.
func (e *engine) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case !client.IsErrConnectionFailed(err):
		if rest, ok := strings.CutPrefix(err.Error(), daemonPrefix); ok {
			return &engineError{rest, err}
		}
		return err
	case strings.Contains(err.Error(), "permission denied"):
		return &engineError{fmt.Sprintf("no permission to talk to the Docker engine at %q: on Linux, the members of its socket's group have it, which is mostly named docker", e.host), err}
	}
	if scheme, _, _ := strings.Cut(e.host, "://"); scheme != "unix" && scheme != "npipe" {
		return fmt.Errorf("no Docker engine answers at %q: %w", e.host, err)
	}
	start := "start Docker Desktop"
	if runtime.GOOS == "linux" {
		start = `start it, mostly with "systemctl start docker"`
	}
	return &engineError{fmt.Sprintf("no Docker engine answers at %q: %s, or name another one in DOCKER_HOST", e.host, start), err}
}

// engineError has its own words, and the kind of the error that it is made of.
type engineError struct {
	text string
	err  error
}

func (e *engineError) Error() string { return e.text }
func (e *engineError) Unwrap() error { return e.err }
