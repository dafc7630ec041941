package bundle

import (
	"context"
	"crypto/sha256"
	"hash"
	"time"
)

// HashOptions are the options of [Hash]; nil is the default.
type HashOptions struct {
	// Cache, if not nil, remembers what files hashed to, so that an unchanged tree is not read
	// again.
	Cache *Cache
	// Progress, if not nil, is told how many further bytes are done. Calls do not overlap.
	Progress func(bytes int64)
}

// Hash reads the collected files and returns their manifest: the SHA-256 of each, and Prefect's
// canonical digest over all. It also fills in the SHA256 of c's files.
//
// A file that changes while it is read is read once more; then it is an error of kind changed.
//
// Two SHA-256 passes over the content, side by side, bound its speed for large files, and four
// system calls a file for small ones.
func Hash(ctx context.Context, c *Collection, opts *HashOptions) (*Manifest, error) {
	if opts == nil {
		opts = &HashOptions{}
	}
	if opts.Cache != nil {
		digest, ok, err := opts.Cache.lookup(ctx, c)
		if err != nil {
			return nil, err
		}
		if ok {
			if opts.Progress != nil {
				opts.Progress(c.TotalSize())
			}
			return c.manifest(digest), nil
		}
	}
	var digest Digest
	started := time.Now()
	err := c.retried(func() error {
		started = time.Now()
		sums := newSummer(c, opts.Progress)
		err := c.stream(ctx, sums.small, sums.canonical, sums.large)
		if err != nil {
			return err
		}
		digest = sums.total.sum()
		return c.settle(ctx, started)
	})
	if err != nil {
		return nil, err
	}
	if opts.Cache != nil {
		opts.Cache.store(c, digest, started)
	}
	return c.manifest(digest), nil
}

// manifest is what the hashed collection amounts to.
func (c *Collection) manifest(digest Digest) *Manifest {
	m := &Manifest{Digest: digest, Entries: make([]Entry, len(c.Files))}
	for i := range c.Files {
		m.Entries[i] = c.Files[i].Entry
	}
	return m
}

// summer computes all digests of a stream.
type summer struct {
	c        *Collection
	total    *canonical
	file     hash.Hash // of the large file under way
	progress func(int64)
}

func newSummer(c *Collection, progress func(int64)) *summer {
	return &summer{c: c, total: newCanonical(), file: sha256.New(), progress: progress}
}

// small hashes the files that a chunk holds whole, in the worker that read them.
func (s *summer) small() func(*chunk) error {
	return func(ch *chunk) error {
		for i := range ch.parts {
			if p := &ch.parts[i]; p.first && p.last {
				s.c.Files[p.file].SHA256 = sha256.Sum256(p.data)
			}
		}
		return nil
	}
}

// large hashes the files that are spread over chunks.
func (s *summer) large(ch *chunk) error {
	for i := range ch.parts {
		p := &ch.parts[i]
		if p.first && p.last {
			continue
		}
		if p.first {
			s.file.Reset()
		}
		s.file.Write(p.data)
		if p.last {
			s.file.Sum(s.c.Files[p.file].SHA256[:0])
		}
	}
	return nil
}

// canonical feeds the digest over all files.
func (s *summer) canonical(ch *chunk) error {
	done := int64(0)
	for i := range ch.parts {
		p := &ch.parts[i]
		if p.first {
			f := &s.c.Files[p.file]
			s.total.file(f.hashedName(), f.Mode, f.Size)
		}
		s.total.Write(p.data)
		done += int64(len(p.data))
	}
	if s.progress != nil {
		s.progress(done)
	}
	return nil
}

// tick is longer than the kernel's clock tick, in which two writes get the same time stamp.
const tick = 20 * time.Millisecond

// settle reads again what was written so shortly before it was read that a further write in
// the same tick would not show in its time stamps.
func (c *Collection) settle(ctx context.Context, started time.Time) error {
	waited := false
	for i := range c.Files {
		if !c.Files[i].seen.recent(started, tick) {
			continue
		}
		if !waited {
			waited = true
			select {
			case <-time.After(time.Until(started.Add(tick))):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		again, err := c.hashFile(ctx, i)
		if err != nil {
			return err
		}
		if again != c.Files[i].SHA256 {
			return &changedError{file: i, what: "changed"}
		}
	}
	return nil
}

// recent reports whether the file was touched less than span before t, or after it.
func (f *fingerprint) recent(t time.Time, span time.Duration) bool {
	return max(f.mtime, f.ctime) > t.Add(-span).UnixNano()
}

// hashFile reads one file.
func (c *Collection) hashFile(ctx context.Context, i int) (Digest, error) {
	one := &Collection{Base: c.Base, Files: c.Files[i : i+1 : i+1]}
	saved := c.Files[i].SHA256
	defer func() { c.Files[i].SHA256 = saved }()
	sums := newSummer(one, nil)
	if err := one.stream(ctx, sums.small, sums.large); err != nil {
		if ch, ok := err.(*changedError); ok {
			ch.file = i
		}
		return Digest{}, err
	}
	return c.Files[i].SHA256, nil
}
