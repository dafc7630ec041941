package oci_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

// A bundle goes into a registry, and comes back.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()

	c, err := bundle.Collect(ctx, dir, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	call := bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"echo", "hello"}}
	if _, err := bundle.Build(ctx, c, call, filepath.Join(dir, "dist"), nil); err != nil {
		log.Fatal(err)
	}
	ref := "oci://" + strings.TrimPrefix(server.URL, "http://") + "/acme/hello:1"
	pushed, err := oci.Push(ctx, filepath.Join(dir, "dist"), ref, nil)
	if err != nil {
		log.Fatal(err)
	}
	b, err := oci.Pull(ctx, pushed.Ref, filepath.Join(dir, "back"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(b.Document.Flowship.Command, b.Digest == pushed.Digest)
	// Output: [echo hello] true
}
