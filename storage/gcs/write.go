package gcs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob/driver"
)

// Pieces of an upload, save the last one, have a multiple of this size.
const pieceUnit = 256 << 10

// defaultPiece is the size of a piece that nobody asked to be of another.
const defaultPiece = 8 << 20

// NewTypedWriter implements [driver.Bucket].
func (b *bucket) NewTypedWriter(ctx context.Context, key, contentType string, opts *driver.WriterOptions) (driver.Writer, error) {
	size := opts.BufferSize
	if size <= 0 {
		size = defaultPiece
	}
	size = max(size/pieceUnit, 1) * pieceUnit
	w := &writer{bucket: b, ctx: ctx, key: key, size: size, onlyNew: opts.IfNotExist}
	var err error
	w.meta, err = json.Marshal(resource{Name: key, ContentType: contentType, Metadata: opts.Metadata, MD5: opts.ContentMD5})
	return w, err
}

// writer implements [driver.Writer] with a resumable upload:
// https://cloud.google.com/storage/docs/performing-resumable-uploads.
type writer struct {
	*bucket
	ctx     context.Context
	key     string
	meta    []byte // the object's resource
	onlyNew bool
	size    int    // of a piece
	piece   []byte // what has come and was not sent
	sent    int64
	session string // the address of the upload; "" before the first piece
	err     error
}

// Write implements [driver.Writer].
func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		if len(w.piece) == w.size { // more follows, so this is not the last one
			w.err = w.send(false)
			continue
		}
		taken := min(len(p), w.size-len(w.piece))
		if len(w.piece)+taken > pieceUnit {
			// It is likely to get full. Growing by and by leaves several times of it to be collected.
			w.piece = slices.Grow(w.piece, w.size-len(w.piece))
		}
		w.piece = append(w.piece, p[:taken]...)
		p, n = p[taken:], n+taken
	}
	return n, w.err
}

// Close implements [driver.Writer]: the object exists afterwards, or there is an error. With a
// context that has ended, the upload is given up.
func (w *writer) Close() error {
	if w.err == nil {
		w.err = context.Cause(w.ctx)
	}
	if w.err == nil {
		w.err = w.send(true)
	}
	if w.err != nil && w.session != "" {
		w.giveUp()
	}
	return w.err
}

// forgetTime is how long an upload that is given up may take to be forgotten. Otherwise the
// service forgets it after a week.
const forgetTime = 5 * time.Second

func (w *writer) giveUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), forgetTime)
	defer cancel()
	if resp, err := w.once(ctx, http.MethodDelete, w.session, nil, nil, []int{statusForgotten}); err == nil {
		resp.Body.Close()
	}
}

const (
	statusForgotten  = 499 // of an upload that was deleted
	statusIncomplete = http.StatusPermanentRedirect
)

// begin gets an address for the upload.
func (w *writer) begin() error {
	query := url.Values{"uploadType": {"resumable"}, "name": {w.key}}
	if w.onlyNew {
		query.Set("ifGenerationMatch", "0")
	}
	address := w.endpoint + "/upload/storage/v1/b/" + url.PathEscape(w.name) + "/o?" + query.Encode()
	resp, err := w.do(w.ctx, http.MethodPost, address, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, w.meta)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if w.session = resp.Header.Get("Location"); w.session == "" {
		return errors.New("gcs: the service did not say where to upload to")
	}
	return nil
}

// send sends the piece, as far as the service does not have it, as often as that takes.
func (w *writer) send(last bool) error {
	if w.session == "" {
		if err := w.begin(); err != nil {
			return err
		}
	}
	deadline, interval := time.Now().Add(retryTime), firstInterval
	for {
		done, err := w.put(last)
		if err == nil && done {
			w.sent += int64(len(w.piece))
			w.piece = w.piece[:0]
			return nil
		}
		if err != nil && (w.ctx.Err() != nil || !passing(err) || time.Now().Add(interval).After(deadline)) {
			return err
		}
		if err == nil { // a part of it was taken: go on
			deadline, interval = time.Now().Add(retryTime), firstInterval
			continue
		}
		select {
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		case <-time.After(interval):
		}
		interval = min(2*interval, longest)
		if done, err := w.resume(last); err != nil && !passing(err) {
			return err
		} else if done {
			w.piece = w.piece[:0]
			return nil
		}
	}
}

// put sends the piece once. It reports whether all of it was taken; otherwise the piece is what
// was not.
func (w *writer) put(last bool) (done bool, err error) {
	resp, err := w.once(w.ctx, http.MethodPut, w.session, http.Header{"Content-Range": {w.span(last)}}, w.piece, []int{statusIncomplete})
	if err != nil {
		return false, err
	}
	return w.taken(resp, last)
}

// resume asks what the service has got.
func (w *writer) resume(last bool) (done bool, err error) {
	total := "*"
	if last {
		total = strconv.FormatInt(w.sent+int64(len(w.piece)), 10)
	}
	resp, err := w.once(w.ctx, http.MethodPut, w.session, http.Header{"Content-Range": {"bytes */" + total}}, []byte{}, []int{statusIncomplete})
	if err != nil {
		return false, err
	}
	return w.taken(resp, last)
}

// span says which bytes of how many the piece is.
func (w *writer) span(last bool) string {
	end, total := w.sent+int64(len(w.piece)), "*"
	if last {
		total = strconv.FormatInt(end, 10)
	}
	if len(w.piece) == 0 {
		return "bytes */" + total
	}
	return fmt.Sprintf("bytes %d-%d/%s", w.sent, end-1, total)
}

// taken reads how much the service has got by now, and drops that from the piece.
func (w *writer) taken(resp *http.Response, last bool) (done bool, err error) {
	defer resp.Body.Close()
	if resp.StatusCode != statusIncomplete {
		if !last {
			return false, errors.New("gcs: the upload ended before its last piece")
		}
		return true, nil
	}
	has := int64(0) // the Range header names the last byte, and is missing when there is none
	if _, end, ok := strings.Cut(resp.Header.Get("Range"), "-"); ok {
		if has, err = strconv.ParseInt(end, 10, 64); err != nil {
			return false, fmt.Errorf("gcs: what the service has got: %w", err)
		}
		has++
	}
	fresh := has - w.sent
	if fresh < 0 || fresh > int64(len(w.piece)) {
		return false, fmt.Errorf("gcs: the service has got %d bytes, of %d to %d that were sent", has, w.sent, w.sent+int64(len(w.piece)))
	}
	if fresh == int64(len(w.piece)) && !last {
		return true, nil
	}
	if fresh == 0 {
		return false, &Error{StatusCode: http.StatusServiceUnavailable, Message: "nothing of a piece was taken"}
	}
	w.sent += fresh
	w.piece = bytes.Clone(w.piece[fresh:])
	return false, nil
}
