package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrUnsigned: the store, or the credentials it was opened with, cannot sign URLs.
var ErrUnsigned = errors.New("no signed URLs here")

// Sign returns a URL that lets whoever has it do one thing with one object until the expiry:
// get it (http.MethodGet), or put it (http.MethodPut). It is a secret. A folder cannot sign and
// Google Cloud Storage needs the key of a service account, or the right to sign with one, and
// Azure the key of the account; that is ErrUnsigned.
func (s *Store) Sign(ctx context.Context, key, method string, expiry time.Duration) (string, error) {
	if err := checkKey(key); err != nil {
		return "", s.fail("sign", key, err)
	}
	if method != http.MethodGet && method != http.MethodPut {
		return "", s.fail("sign", key, fmt.Errorf("method %q: want GET or PUT", method))
	}
	if s.local {
		return "", s.fail("sign", key, ErrUnsigned)
	}
	signed, err := s.bucket.SignedURL(ctx, key, method, expiry)
	if driverKind(err) == ErrUnsigned {
		err = fmt.Errorf("%w: %s", ErrUnsigned, plain(err))
	}
	return signed, s.fail("sign", key, err)
}

// Signed is one object behind a signed URL. It needs no driver, and no credentials but the URL.
type Signed struct {
	store  Store // for its patience and its errors only
	url    string
	expiry time.Time // zero where the URL does not tell
	client *http.Client
}

// OpenSigned returns the object that a URL of [Store.Sign] names. The options' Patience counts.
func OpenSigned(signed string, opts *OpenOptions) (*Signed, error) {
	if opts == nil {
		opts = &OpenOptions{}
	}
	u, err := url.Parse(signed)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("storage: the signed URL is not one of http:// or https://")
	}
	o := &Signed{url: signed, expiry: expiryOf(u.Query()), client: &http.Client{Transport: http.DefaultTransport}}
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath} // the rest is for the server
	o.store.name, o.store.patience = plain.String(), opts.Patience
	if o.store.patience == 0 {
		o.store.patience = defaultPatience
	}
	return o, nil
}

// Get writes the object to a file as [Store.Get] does.
func (o *Signed) Get(ctx context.Context, path string, opts *GetOptions) error {
	if opts == nil {
		opts = &GetOptions{}
	}
	return o.fail("get", writeFile(path, opts, func(f *os.File) (d Digest, err error) {
		h := sha256.New()
		if _, err = o.stream(ctx, opts.Progress, func(int64) (io.Writer, error) { return io.MultiWriter(f, h), nil }); err != nil {
			return d, err
		}
		return Digest(h.Sum(nil)), nil
	}))
}

// ReadAll returns an object of at most limit bytes.
func (o *Signed) ReadAll(ctx context.Context, limit int64) ([]byte, error) {
	var b strings.Builder
	_, err := o.stream(ctx, nil, func(size int64) (io.Writer, error) {
		if size > limit {
			return nil, fmt.Errorf("it has %d bytes, more than %d", size, limit)
		}
		return &b, nil
	})
	if err != nil {
		return nil, o.fail("read", err)
	}
	return []byte(b.String()), nil
}

// stream writes the object to what to returns for its size, and takes it up again where a
// connection broke off.
func (o *Signed) stream(ctx context.Context, progress func(int64), to func(size int64) (io.Writer, error)) (at int64, err error) {
	ctx, p := o.store.patiently(ctx, 0)
	defer func() { err = p.end(ctx, err) }()
	moved := &moves{patience: p, progress: progress}
	var w io.Writer
	size, tag := int64(-1), ""
	for attempt := 1; ; attempt++ {
		var cutOff bool
		cutOff, err = o.get(ctx, at, func(resp *http.Response) error {
			whole := at + resp.ContentLength
			switch {
			case resp.ContentLength < 0:
				return errors.New("the server does not tell its size")
			case w == nil:
				size, tag = whole, resp.Header.Get("ETag")
				if w, err = to(size); err != nil {
					return err
				}
			case whole != size || resp.Header.Get("ETag") != tag:
				return fmt.Errorf("%w: it was replaced while it was read", ErrDigest)
			}
			n, err := io.Copy(io.MultiWriter(w, moved), resp.Body)
			at += n
			return err
		})
		if err == nil && at == size {
			return at, nil
		}
		if !cutOff || attempt > resumptions {
			return at, err
		}
		if pause(ctx, attempt) != nil {
			return at, err
		}
	}
}

// get asks for the object from an offset on. again reports whether a failure may pass.
func (o *Signed) get(ctx context.Context, offset int64, read func(*http.Response) error) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	want := http.StatusOK
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		want = http.StatusPartialContent
	}
	resp, err := o.do(req)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return passing(resp.StatusCode), o.refused(resp)
	}
	err = read(resp)
	return err != nil && ctx.Err() == nil && cut(err), err
}

// Put stores what r holds, as [Store.Put] does, in one piece: stores take up to 5 GB so. Nothing
// can be asked through the URL about an object that is there already, so without Replace that is
// ErrConflict, where the store tells. A failure that may pass is tried again if r is a Seeker.
func (o *Signed) Put(ctx context.Context, r io.Reader, opts PutOptions) error {
	patient, p := o.store.patiently(ctx, 0)
	src := &source{r: r, ctx: ctx, size: opts.Size, left: opts.Size, moves: moves{patience: p, progress: opts.Progress}}
	var err error
	for attempt := 1; ; attempt++ {
		var again bool
		if again, err = o.put(patient, src, &opts); err == nil || !again || attempt > resumptions || !src.rewind() || pause(patient, attempt) != nil {
			break
		}
	}
	err = p.end(patient, err)
	if err != nil && src.err != nil {
		err = src.err
	}
	return o.fail("put", err)
}

func (o *Signed) put(ctx context.Context, src *source, opts *PutOptions) (again bool, err error) {
	body := io.NopCloser(src)
	if opts.Size == 0 {
		if _, err := src.Read(make([]byte, 1)); err != nil && err != io.EOF {
			return false, err
		}
		body = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, o.url, body)
	if err != nil {
		return false, err
	}
	req.ContentLength = opts.Size // stores take nothing of unknown length
	if req.URL.Query().Has("sig") {
		req.Header.Set("x-ms-blob-type", "BlockBlob") // Azure has several sorts
	}
	if !opts.Replace {
		req.Header.Set("If-None-Match", "*")
	}
	resp, err := o.do(req)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status == http.StatusPreconditionFailed, status == http.StatusConflict:
		return false, ErrConflict
	case status/100 != 2:
		return passing(status), o.refused(resp)
	}
	return false, nil
}

// do asks the server. Its errors leave the URL to those of the object, which name it anyway.
func (o *Signed) do(req *http.Request) (*http.Response, error) {
	resp, err := o.client.Do(req)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	return resp, err
}

// passing reports whether a server that answers so may answer otherwise the next time.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
}

// statusError is what a server answered.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string       { return e.text }
func (e *statusError) HTTPStatusCode() int { return e.status }

// refused makes an error of a response. A URL that is too old is not said by all stores, but by
// the URL.
func (o *Signed) refused(resp *http.Response) error {
	status := resp.StatusCode
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	expired := !o.expiry.IsZero() && !time.Now().Before(o.expiry) || strings.Contains(string(said), "ExpiredToken") || strings.Contains(string(said), "Request has expired")
	if expired && (status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden) {
		when := ""
		if !o.expiry.IsZero() {
			when = " at " + o.expiry.UTC().Format(time.RFC3339)
		}
		return fmt.Errorf("%w: the signed URL expired%s", ErrUnauthorized, when)
	}
	return &statusError{status, "the server answered " + resp.Status}
}

func (o *Signed) fail(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("storage: %s %q: %w", verb, o.store.name, explain(err))
}

// expiryOf reads from a signed URL when it expires, as S3, Google and Azure write it.
func expiryOf(q url.Values) time.Time {
	for _, vendor := range []string{"X-Amz-", "X-Goog-"} {
		start, err := time.Parse("20060102T150405Z", q.Get(vendor+"Date"))
		seconds, secondsErr := strconv.ParseInt(q.Get(vendor+"Expires"), 10, 32)
		if err == nil && secondsErr == nil {
			return start.Add(time.Duration(seconds) * time.Second)
		}
	}
	if end, err := time.Parse(time.RFC3339, q.Get("se")); err == nil {
		return end
	}
	if seconds, err := strconv.ParseInt(q.Get("Expires"), 10, 64); err == nil && seconds > 0 {
		return time.Unix(seconds, 0)
	}
	return time.Time{}
}
