package main

import (
	"context"
	"fmt"
	"os/exec"
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
	root, err := p.bucketRoot()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(program, "-scheme", "http", "-host", "127.0.0.1", "-port", fmt.Sprint(port), "-public-host", address,
		"-backend", "filesystem", "-filesystem-root", root, "-log-level", "error")
	server := "http://" + address
	if err := p.serve(ctx, "fake-gcs-server", cmd, server, time.Minute, answering(server+"/_internal/healthcheck")); err != nil {
		return nil, err
	}
	// Google's client for Go wants the host without a scheme.
	return []string{"FLOWSHIP_TEST_GCS=gs://" + bucketName, "STORAGE_EMULATOR_HOST=" + address}, nil
}
