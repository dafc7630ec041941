package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dockerImage is what the engine has for tests: busybox, and a variable in its environment.
const dockerImage = "flowship-test:busybox"

// dockerClient speaks to a Docker engine as far as testbed has to.
type dockerClient struct {
	host string // unix://… or tcp://…
	http *http.Client
	base string
}

func newDockerClient(host string) (*dockerClient, error) {
	scheme, address, _ := strings.Cut(host, "://")
	switch scheme {
	case "unix":
		var dialer net.Dialer
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", address)
		}
		return &dockerClient{host: host, http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://docker"}, nil
	case "tcp":
		return &dockerClient{host: host, http: &http.Client{}, base: "http://" + address}, nil
	}
	return nil, fmt.Errorf("cannot talk to an engine at %q", host)
}

func (c *dockerClient) answers(ctx context.Context) bool {
	return c.call(ctx, http.MethodGet, "/_ping", nil, 2*time.Second) == nil
}

// call makes one request whose answer does not matter, but for its status.
func (c *dockerClient) call(ctx context.Context, method, path string, body []byte, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(body, []byte("{")) {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var said bytes.Buffer
	said.ReadFrom(resp.Body)
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// try runs a container that does nothing: an engine may answer on a machine where none can run.
func (c *dockerClient) try(ctx context.Context) error {
	path := fmt.Sprintf("/containers/flowship-test-%08x", rand.Uint32())
	create := "/containers/create?name=" + strings.TrimPrefix(path, "/containers/")
	defer c.call(context.WithoutCancel(ctx), http.MethodDelete, path+"?force=1", nil, time.Minute)
	if err := c.call(ctx, http.MethodPost, create, []byte(`{"Image":"`+dockerImage+`","Cmd":["true"]}`), time.Minute); err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path+"/start", nil, time.Minute)
}

// startDocker uses the engine that answers, or starts one, and makes the image for tests there.
func startDocker(ctx context.Context, p *place) ([]string, error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	client, err := newDockerClient(host)
	if err == nil && client.answers(ctx) {
		p.say("docker on %s, which runs already", host)
	} else if client, err = p.ownDocker(ctx); err != nil {
		return nil, err
	}
	if err := p.makeDockerImage(ctx, client); err != nil {
		return nil, err
	}
	if err := client.try(ctx); ctx.Err() != nil {
		return nil, err
	} else if err != nil {
		return nil, &unavailableError{fmt.Sprintf("the engine cannot run containers here: %v", err)}
	}
	return []string{"FLOWSHIP_TEST_DOCKER=" + client.host}, nil
}

// makeDockerImage imports the image, and removes it at the end from an engine that is not testbed's own.
func (p *place) makeDockerImage(ctx context.Context, client *dockerClient) error {
	path := "/images/" + dockerImage
	if client.call(ctx, http.MethodGet, path+"/json", nil, 10*time.Second) == nil {
		return nil
	}
	busybox, err := p.busybox(ctx)
	if err != nil {
		return err
	}
	root, err := busyboxRoot(ctx, busybox)
	if err != nil {
		return err
	}
	repository, tag, _ := strings.Cut(dockerImage, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {repository}, "tag": {tag}, "changes": {"ENV PATH=/bin", "ENV FLOWSHIP_TEST_INHERITED=yes"}}
	if err := client.call(ctx, http.MethodPost, "/images/create?"+query.Encode(), root, time.Minute); err != nil {
		return err
	}
	if len(p.daemons) == 0 {
		p.atEnd(func() { client.call(context.Background(), http.MethodDelete, path, nil, time.Minute) })
	}
	return nil
}

// busybox returns a busybox that needs no library.
func (p *place) busybox(ctx context.Context) (string, error) {
	dir, err := p.debianPackage(ctx, "busybox-static")
	return filepath.Join(dir, "bin", "busybox"), err
}
