package oci

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// LoadOptions are the options of [Image.Load]; nil is the default.
type LoadOptions struct {
	// Host is the address of the engine; "" is that in DOCKER_HOST or, without one, this machine's.
	Host string
	// Certs is the directory with ca.pem, cert.pem and key.pem for an engine that wants them; "" is
	// that of DOCKER_CERT_PATH, if DOCKER_TLS_VERIFY says so.
	Certs string
}

// Load brings the image, which must be for one platform, into a container engine, as "docker load"
// does.
func (i *Image) Load(ctx context.Context, name string, opts *LoadOptions) error {
	var o LoadOptions
	if opts != nil {
		o = *opts
	}
	host := o.Host
	if host == "" {
		host = os.Getenv("DOCKER_HOST")
	}
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	e, err := openEngine(host, o.Certs)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	defer e.client.CloseIdleConnections()
	if err := e.load(ctx, i, name); err != nil {
		return fmt.Errorf("oci: load image %q into the engine at %q: %w", name, host, err)
	}
	return nil
}

// engine is a container engine with Docker's API.
type engine struct {
	base   string
	client *http.Client
}

func openEngine(host, certs string) (*engine, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, &InvalidError{"DOCKER_HOST", host, "not a URL"}
	}
	t := &http.Transport{}
	e := &engine{client: &http.Client{Transport: t}}
	switch u.Scheme {
	case "unix":
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
		}
		e.base = "http://docker"
	case "tcp", "http", "https":
		e.base = "http://" + u.Host
		secure := u.Scheme == "https" || os.Getenv("DOCKER_TLS_VERIFY") != "" || certs != ""
		if certs == "" {
			certs = os.Getenv("DOCKER_CERT_PATH")
		}
		if secure {
			e.base = "https://" + u.Host
			if t.TLSClientConfig, err = engineTLS(certs); err != nil {
				return nil, err
			}
		}
	default:
		return nil, &InvalidError{"DOCKER_HOST", host, "want unix:// or tcp://; docker load takes an image that was written to a file"}
	}
	return e, nil
}

// engineTLS reads what docker keeps for engines that want certificates.
func engineTLS(dir string) (*tls.Config, error) {
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(home, ".docker")
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, fmt.Errorf("DOCKER_CERT_PATH %q: %w", dir, err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("DOCKER_CERT_PATH %q: %w", dir, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: x509.NewCertPool()}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("DOCKER_CERT_PATH %q: ca.pem holds no certificates", dir)
	}
	return cfg, nil
}

func (e *engine) load(ctx context.Context, img *Image, name string) error {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := img.stream(ctx, w, name)
		w.CloseWithError(err)
		written <- err
	}()
	err := e.post(ctx, r)
	r.CloseWithError(errUnread)
	writeErr := <-written
	if writeErr == nil || errors.Is(writeErr, errUnread) || errors.Is(writeErr, io.ErrClosedPipe) {
		return err // which says why it read no further
	}
	return writeErr
}

var errUnread = errors.New("the engine read no further")

func (e *engine) post(ctx context.Context, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.base+"/images/load?quiet=1", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	resp, err := e.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &registryError{ErrUnavailable, oneLine(inner(err).Error()), err}
	}
	defer resp.Body.Close()
	return readLoad(resp)
}

// inner is an error of a request without what it repeats of it.
func inner(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// readLoad reads what the engine says: one JSON object after the other, one of which may be an
// error although the status is that of success.
func readLoad(resp *http.Response) error {
	if resp.StatusCode/100 != 2 {
		var said struct{ Message string }
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if json.Unmarshal(text, &said) != nil {
			said.Message = strings.TrimSpace(string(text))
		}
		err := errors.New(oneLine("it answered " + resp.Status + ": " + said.Message))
		return &registryError{statusKind(resp.StatusCode), err.Error(), err}
	}
	for dec := json.NewDecoder(bufio.NewReader(resp.Body)); ; {
		var line struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &registryError{ErrUnavailable, oneLine(err.Error()), err}
		case line.Error != "":
			return errors.New(oneLine("it said: " + line.Error))
		}
	}
}
