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
	root := filepath.Join(p.dir, "buckets")
	if err := os.MkdirAll(filepath.Join(root, bucketName), 0o700); err != nil {
		return nil, err
	}
	const key, secret = "testbed", "testbed-secret"
	address := fmt.Sprintf("127.0.0.1:%d", port)
	start := time.Now()
	cmd := exec.Command(program, "--quiet", "--port", address, "--health", "/health", "posix", root)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+key, "ROOT_SECRET_KEY="+secret)
	d, err := p.daemon("versitygw", cmd)
	if err != nil {
		return nil, err
	}
	if err := d.ready(ctx, "http://"+address+"/health", time.Minute); err != nil {
		return nil, err
	}
	p.say("versitygw on http://%s, ready in %.1fs", address, time.Since(start).Seconds())
	query := url.Values{"endpoint": {"http://" + address}, "use_path_style": {"true"}, "region": {"us-east-1"}}
	return []string{
		"FLOWSHIP_TEST_S3=s3://" + bucketName + "?" + query.Encode(),
		"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret,
	}, nil
}
