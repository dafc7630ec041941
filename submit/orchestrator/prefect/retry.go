package prefect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// repeat sends the request until it succeeds, or fails for good. Before each further try it asks
// undone, unless that is nil.
func (c *Client) repeat(ctx context.Context, method, path string, body []byte, undone func(context.Context) error) ([]byte, error) {
	waited := time.Duration(0)
	for try, delays := 1, 1; ; delays++ {
		r, err := c.once(ctx, method, path, body)
		if err == nil && r.status < 300 {
			return r.body, nil
		}
		again, counted := c.worthRepeating(ctx, r, err)
		if c.settings.MaxRetries > 0 && r.busy() && waited < busyPatience {
			counted = false
		}
		if !again || counted && try > c.settings.MaxRetries {
			return nil, c.failure(method, path, r, err)
		}
		answer := r
		if refused, ok := errors.AsType[*tokenRefusal](err); ok {
			answer = refused.answer
		}
		delay := c.delay(delays, answer)
		waited += delay
		if err := c.wait(ctx, delay); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		if counted {
			try++
		}
		if undone != nil {
			if err := undone(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// busyPatience is for how long a server is waited for that is too busy to do anything. Its SQLite
// lets one request after the other write; with a hundred clients a turn may be far away.
const busyPatience = 4 * time.Minute

// busy reports whether the server itself says that it cannot do it now, and not somebody before it.
func (r *response) busy() bool {
	return r != nil && r.status == http.StatusServiceUnavailable && r.detail() == http.StatusText(http.StatusServiceUnavailable)
}

// worthRepeating reports whether another try may succeed, and whether the last one counts: while a
// server is maintained it does not.
func (c *Client) worthRepeating(ctx context.Context, r *response, err error) (again, counted bool) {
	if err != nil {
		if ctx.Err() != nil {
			return false, true
		}
		var refused *tokenRefusal
		var u *url.Error
		switch {
		case errors.As(err, &refused):
			return c.repeatable(refused.answer)
		case nobodyThere(err):
			return c.answered.Load() || c.settings.Expected && errors.Is(err, syscall.ECONNREFUSED), true
		}
		return errors.As(err, &u) || r != nil, true
	}
	if c.renewToken(r) {
		return true, true
	}
	return c.repeatable(r)
}

// nobodyThere reports whether the address is not that of a server with whom to talk. That passes
// only where there has been one.
func nobodyThere(err error) bool {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return name.IsNotFound
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, http.ErrSchemeMismatch)
}

// repeatable is what worthRepeating says of an answer as such.
func (c *Client) repeatable(r *response) (again, counted bool) {
	if !slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable}, r.status) &&
		!slices.Contains(c.settings.RetryCodes, r.status) {
		return false, true
	}
	return true, r.header.Get("Prefect-Maintenance") != "true"
}

// failure says what was asked and what came of it.
func (c *Client) failure(method, path string, r *response, err error) error {
	if err == nil {
		refused := &StatusError{Method: method, Path: path, Status: r.status, Detail: r.detail()}
		if errors.Is(refused, ErrUnauthorized) {
			refused.Check = c.settings.credentials()
		}
		return refused
	}
	if refused, ok := errors.AsType[*StatusError](err); ok {
		return refused
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the rest repeats method and address
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s at %s: %w", method, path, c.api.Redacted(), err)
	}
	return fmt.Errorf("%s %s: %w: %s: %w", method, path, ErrUnavailable, c.api.Redacted(), err)
}

// The first try after a failure follows soon: a server on SQLite that is busy is so for moments.
// Prefect's own client waits for two seconds at first, and in all for not much longer.
const (
	firstDelay   = 200 * time.Millisecond
	delayFactor  = 4
	longestDelay = 32 * time.Second
)

// delay is the nth, which is how long to wait before the next try.
func (c *Client) delay(n int, r *response) time.Duration {
	const longest = 10 * time.Minute
	most := max(c.settings.Jitter, 0)
	jitter := most * rand.Float64()
	if r != nil {
		if after, ok := retryAfter(r.header.Get("Retry-After"), time.Now()); ok {
			return min(time.Duration(float64(after)*(1+jitter)), longest) // never less than was asked for
		}
	}
	if r.busy() {
		n = min(n, 3) // its turns are short
	}
	d := min(firstDelay.Seconds()*math.Pow(delayFactor, float64(min(n, 10)-1)), longestDelay.Seconds())
	d *= 1 + 2*jitter - most
	return min(time.Duration(max(d, 0)*float64(time.Second)), longest)
}

// retryAfter reads seconds, or a date of HTTP.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
