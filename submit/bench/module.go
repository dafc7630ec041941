package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// module times what the client starts for a small document: Prefect's own module in Python, and flowship in its place, by turns.
func (b *bench) module(ctx context.Context, w io.Writer) error {
	address, err := url.Parse(os.Getenv("FLOWSHIP_TEST_S3"))
	if err != nil {
		return err
	}
	if address.Host == "" || b.python == "" {
		fmt.Fprintf(w, "prefect_aws.bundles.upload\tnot there\n")
		return nil
	}
	document := filepath.Join(b.dir, "document")
	if err := os.WriteFile(document, bytes.Repeat([]byte("document"), 512), 0o600); err != nil {
		return err
	}
	upload := func(program string) (time.Duration, error) {
		cmd := exec.CommandContext(ctx, program, "-m", "prefect_aws.bundles.upload", "--bucket", address.Host, "--key", uuid.NewString(), document)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+address.Query().Get("endpoint"), "AWS_DEFAULT_REGION="+address.Query().Get("region"),
			"PREFECT_HOME="+filepath.Join(b.dir, "prefect"), "DO_NOT_TRACK=1")
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		return time.Since(begin), nil
	}
	var python, ours []time.Duration
	for range 6 { // the first one warms up
		took, err := upload(b.python)
		if err != nil {
			return err
		}
		python = append(python, took)
		for range 4 {
			if took, err = upload(b.flowship); err != nil {
				return err
			}
			ours = append(ours, took)
		}
	}
	python, ours = python[1:], ours[4:]
	slices.Sort(python)
	slices.Sort(ours)
	slow, fast := python[len(python)/2], ours[len(ours)/2]
	fmt.Fprintf(w, "python -m prefect_aws.bundles.upload, 4 KiB\t%v\t\n", slow.Round(10*time.Millisecond))
	fmt.Fprintf(w, "flowship -m prefect_aws.bundles.upload, 4 KiB\t%v\t%.0f times as fast\n", fast.Round(100*time.Microsecond), slow.Seconds()/fast.Seconds())
	return nil
}
