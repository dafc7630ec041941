package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const fakeGCS = "github.com/fsouza/fake-gcs-server@v1.56.1"

// startGCS starts fake-gcs-server, which speaks the API of Google Cloud Storage.
func startGCS(ctx context.Context, p *place) ([]string, error) {
	program, err := p.goProgram(ctx, fakeGCS)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(p.dir, "buckets")
	if err := os.MkdirAll(filepath.Join(root, bucketName), 0o700); err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	start := time.Now()
	cmd := exec.Command(program, "-scheme", "http", "-host", "127.0.0.1", "-port", fmt.Sprint(port), "-public-host", address,
		"-backend", "filesystem", "-filesystem-root", root, "-log-level", "error")
	cmd.Dir = p.dir
	d, err := p.daemon("fake-gcs-server", cmd)
	if err != nil {
		return nil, err
	}
	if err := d.ready(ctx, "http://"+address+"/_internal/healthcheck", time.Minute); err != nil {
		return nil, err
	}
	p.say("fake-gcs-server on http://%s, ready in %.1fs", address, time.Since(start).Seconds())
	// Google's client for Go wants the host without a scheme.
	return []string{"FLOWSHIP_TEST_GCS=gs://" + bucketName, "STORAGE_EMULATOR_HOST=" + address}, nil
}
