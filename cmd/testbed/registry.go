package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// startRegistry starts an image registry within testbed itself. Docker engines take one without TLS on this address only.
func startRegistry(_ context.Context, p *place) ([]string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{
		Handler:           registry.New(registry.Logger(quiet), registry.WithBlobHandler(registry.NewDiskBlobHandler(p.dir))),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          quiet,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(listener) // until it is closed
	}()
	p.atEnd(func() {
		server.Close()
		<-served
	})
	address := listener.Addr().String()
	p.say("registry on %s", address)
	return []string{"FLOWSHIP_TEST_REGISTRY=" + address}, nil
}
