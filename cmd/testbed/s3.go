package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A bucket of every object store, empty at first.
const bucketName = "bkt"

const versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// startS3 starts versitygw, an S3 server over a directory.
func startS3(ctx context.Context, p *place) ([]string, error) {
	program, err := p.goProgram(ctx, versitygw)
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
	const key, secret = "testbed", "testbed-secret"
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(program, "--quiet", "--port", address, "--health", "/health", "posix", root)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+key, "ROOT_SECRET_KEY="+secret)
	server := "http://" + address
	if err := p.serve(ctx, "versitygw", cmd, server, time.Minute, answering(server+"/health")); err != nil {
		return nil, err
	}
	query := url.Values{"endpoint": {server}, "use_path_style": {"true"}, "region": {"us-east-1"}}
	return []string{
		"FLOWSHIP_TEST_S3=s3://" + bucketName + "?" + query.Encode(),
		"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret,
	}, nil
}

// bucketRoot makes the directory in which a server keeps each bucket as a directory.
func (p *place) bucketRoot() (string, error) {
	root := filepath.Join(p.dir, "buckets")
	return root, os.MkdirAll(filepath.Join(root, bucketName), 0o700)
}
