package oci

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// defaultPatience is how long a registry may say and take nothing.
const defaultPatience = 2 * time.Minute

// errSilent: a registry said and took nothing for too long.
var errSilent = errors.New("it did not go on")

// patient ends requests that do not go on. A limit for all of a request would be one for the size
// of layers.
type patient struct {
	next http.RoundTripper
	wait time.Duration
}

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{ctx: ctx, wait: p.wait, timer: time.AfterFunc(p.wait, func() { cancel(errSilent) }), end: cancel}
	req = req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watched{req.Body, w, false}
	}
	resp, err := p.next.RoundTrip(req)
	if err != nil {
		err = w.explain(err)
		w.stop()
		return nil, err
	}
	resp.Body = &watched{resp.Body, w, true}
	return resp, nil
}

// watch ends a request when nobody has reset it for too long.
type watch struct {
	ctx   context.Context
	wait  time.Duration
	timer *time.Timer
	end   context.CancelCauseFunc
}

func (w *watch) stop() {
	w.timer.Stop()
	w.end(nil)
}

func (w *watch) explain(err error) error {
	if err != nil && err != io.EOF && context.Cause(w.ctx) == errSilent {
		return errSilent
	}
	return err
}

// watched is a body whose bytes reset the watch.
type watched struct {
	io.ReadCloser
	w        *watch
	response bool // with which the request ends
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.w.timer.Reset(b.w.wait)
	}
	return n, b.w.explain(err)
}

func (b *watched) Close() error {
	if b.response {
		b.w.stop()
	}
	return b.ReadCloser.Close()
}
