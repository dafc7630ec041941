package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
)

// copyFile copies a file into an empty one and returns the digest of what was written. The system
// copies, without a way through this process where it can, and the digest follows close behind,
// on another core.
func copyFile(ctx context.Context, from, to *os.File, moved *moves) (d Digest, err error) {
	come := make(chan int64, 4)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(come)
		for {
			n, err := io.CopyN(to, from, downloadPart)
			moved.add(n)
			select {
			case come <- n:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	h := sha256.New()
	g.Go(func() error {
		at := int64(0)
		for n := range come {
			if _, err := io.Copy(h, io.NewSectionReader(to, at, n)); err != nil {
				return err
			}
			at += n
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return d, err
	}
	return Digest(h.Sum(nil)), nil
}
