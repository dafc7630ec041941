package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"
)

// PutOptions say what is put.
type PutOptions struct {
	// Size is the number of bytes that must come. What is shorter or longer is not stored.
	Size int64
	// SHA256, unless zero, is kept with the object where the store can, and compared with that
	// of an object which is there already. The bytes themselves are not hashed again.
	SHA256 Digest
	// Replace overwrites an object instead of leaving it.
	Replace bool
	// Progress, if not nil, is told how many further bytes were sent; less than none when the
	// store wants them again.
	Progress func(bytes int64)
}

// Up to this size an object is put without a look whether it is there: the condition in the
// request says so as well. Of a larger one the body would travel in vain, and S3 cuts the
// connection when it refuses it.
const lookFirst = 1 << 20

// Memory that an upload may take for parts on their way, and the size of a part as long as the
// store takes so many.
const (
	uploadMemory = 36 << 20
	uploadPart   = 6 << 20
	googleChunk  = 16 << 20 // Google's store takes one after another
	maxParts     = 10_000   // of S3; Azure takes more
)

// How long parts that are on their way may take after the caller gave up. A store that is asked
// in order also forgets the parts that it has.
const uploadGrace = 5 * time.Second

// contentType is that of all objects: what they are is said by the document, not by a server.
const contentType = "application/octet-stream"

// Put stores what r holds under the key, unless the object is there already. It reports whether
// it stored anything. An object that is there with another size or digest is ErrConflict. What
// is large travels in parts, several at once, and takes at most 128 MiB of memory. Of an upload
// that fails nothing can be seen; its parts are removed where the store still answers.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, opts PutOptions) (stored bool, err error) {
	if err := checkKey(key); err != nil {
		return false, s.fail("put", key, err)
	}
	if s.folder != nil && isTemporary(key) {
		return false, s.fail("put", key, errors.New("the key looks like the name of a temporary file"))
	}
	if !opts.Replace && (s.local || opts.Size > lookFirst) {
		if there, err := s.there(ctx, key, &opts); there || err != nil {
			return false, s.fail("put", key, err)
		}
	}
	err = s.send(ctx, key, r, &opts)
	if err == nil {
		return true, nil
	}
	// Stores do not agree on how they say that somebody else was quicker, some cut the
	// connection: look again before believing in another failure.
	if !opts.Replace && ctx.Err() == nil {
		if there, lookErr := s.there(ctx, key, &opts); there {
			return false, nil
		} else if errors.Is(lookErr, ErrConflict) {
			err = lookErr
		} else if lookErr == nil && driverKind(err) == ErrConflict {
			err = fmt.Errorf("%w, or had it until now", ErrConflict)
		}
	}
	if kind := kindOf(err); kind == ErrNotFound || kind == ErrUnavailable && statusOf(err) == 0 && s.noBucket(ctx) {
		err = fmt.Errorf("%w: the bucket does not exist", ErrNotFound)
	}
	return false, s.fail("put", key, err)
}

// noBucket reports whether the bucket does not exist. S3 cuts the connection when it refuses a
// body for that, and the answer may be lost; a new object needs nothing but its bucket.
func (s *Store) noBucket(ctx context.Context) bool {
	if s.scheme != "s3" {
		return false
	}
	ctx, p := s.patiently(ctx, 0)
	defer p.end(ctx, nil)
	ok, err := s.bucket.Exists(ctx)
	return !ok && err == nil
}

// there reports whether the object is in the store and is the one described.
func (s *Store) there(ctx context.Context, key string, opts *PutOptions) (bool, error) {
	o, err := s.Stat(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, errors.Unwrap(err) // Put says the same about the key
	case o.Size != opts.Size:
		return false, fmt.Errorf("%w: it has %d bytes, not %d", ErrConflict, o.Size, opts.Size)
	case o.SHA256 != Digest{} && opts.SHA256 != Digest{} && o.SHA256 != opts.SHA256:
		return false, fmt.Errorf("%w: its SHA-256 is %x, not %x", ErrConflict, o.SHA256, opts.SHA256)
	}
	return true, nil
}

func (s *Store) send(ctx context.Context, key string, r io.Reader, opts *PutOptions) (err error) {
	part := max(uploadPart, opts.Size/(maxParts-1)+1)
	w := &WriterOptions{
		ContentType:    contentType,
		IfNotExist:     !opts.Replace,
		BufferSize:     int(part),
		MaxConcurrency: int(max(1, uploadMemory/part-1)),
	}
	if s.scheme == "gs" {
		w.BufferSize = googleChunk
	}
	if opts.SHA256 != (Digest{}) {
		w.Metadata = map[string]string{metadataDigest: hex.EncodeToString(opts.SHA256[:])}
	}
	src := &source{r: r, ctx: ctx, size: opts.Size, left: opts.Size, moves: moves{progress: opts.Progress}}
	careful := s.careful && opts.Size > part // a single request leaves nothing behind
	if careful {
		// The driver ends in order when its source does; a context that ends keeps it from that.
		soft, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(ctx, func() {
			t := time.AfterFunc(uploadGrace, cancel)
			context.AfterFunc(soft, func() { t.Stop() })
		})()
		ctx = soft
	}
	pending := min(opts.Size, uploadMemory+2*uploadPart)
	if s.local {
		pending = 0
	}
	patient, p := s.patiently(ctx, pending)
	ctx, src.patience = patient, p
	if !careful && s.folder == nil {
		// A driver keeps what it got when its writer is closed, also after a failure; only a
		// cancelled context has it thrown away.
		cancelled, cancel := context.WithCancel(ctx)
		defer cancel()
		ctx, src.cancel = cancelled, cancel
	}
	if s.folder != nil {
		err = s.folder.Upload(ctx, key, src, w)
	} else {
		err = s.insist(ctx, func() error { return s.bucket.Upload(ctx, key, src, w) }, src.rewind)
	}
	if err = p.end(patient, err); err != nil && src.err != nil {
		return src.err // whatever the driver makes of it
	}
	return err
}

// source passes on the announced number of bytes. Anything else is an error, which is kept, and
// cancels the write before the driver can take what came for the whole.
type source struct {
	moves
	r      io.Reader
	ctx    context.Context // the caller's
	size   int64
	left   int64
	cancel func() // nil where the error does
	err    error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.left -= int64(n)
	switch {
	case s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	case s.left < 0:
		err = fmt.Errorf("more bytes than announced")
	case errors.Is(err, io.EOF) && s.left > 0:
		err = fmt.Errorf("%d bytes less than announced: %w", s.left, io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		s.err = err
		if s.cancel != nil {
			s.cancel()
		}
		return 0, err
	}
	s.moves.Write(p[:n])
	return n, err
}

// rewind begins again, where that is possible.
func (s *source) rewind() bool {
	seeker, ok := s.r.(io.Seeker)
	if !ok || s.err != nil {
		return false
	}
	if _, err := seeker.Seek(s.left-s.size, io.SeekCurrent); err != nil {
		return false
	}
	if s.progress != nil {
		s.progress(s.left - s.size)
	}
	s.left = s.size
	return true
}
