package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// The content of a collection is read as a sequence of chunks. Workers fill chunks in
// parallel, each small files whole or a block of a large one; consumers see them in the
// archive's order. At most a window of chunks exists at a time, which bounds the memory
// whatever the sizes of the files.

const (
	// chunkSize is how much content a chunk holds. It is also the size of the blocks that
	// large files are deflated in, hence part of what makes archives reproducible.
	chunkSize = 1 << 20
	// chunkFiles bounds the files in a chunk, so that trees of tiny files are shared out.
	chunkFiles = 128
	// dictSize is how much of the preceding block deflate may refer to.
	dictSize = 32 << 10
)

// part is a stretch of one file in a chunk.
type part struct {
	file        int
	data        []byte
	dict        []byte // what precedes data in the file, for deflate
	first, last bool
	packed      []byte // deflated data, when packing
}

type chunk struct {
	ticket int
	parts  []part
	buf    []byte
	out    bytes.Buffer
	users  atomic.Int32
}

// unit is the work of filling one chunk: files [first, first+count), or one block of a file.
type unit struct {
	ticket       int
	first, count int
	large        *largeFileReader
	offset       int64
}

// planner hands out the units in order.
type planner struct {
	c       *Collection
	mu      sync.Mutex
	ticket  int
	file    int
	large   *largeFileReader
	offset  int64
	dryRun  bool
	pending []*largeFileReader
}

func (p *planner) take() (u unit, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == len(p.c.Files) {
		return unit{}, false
	}
	u = unit{ticket: p.ticket, first: p.file}
	p.ticket++
	if size := p.c.Files[p.file].Size; size > chunkSize {
		if p.offset == 0 && !p.dryRun {
			p.large = &largeFileReader{c: p.c, file: p.file}
			p.large.left.Store(int64((size + chunkSize - 1) / chunkSize))
			p.pending = append(p.pending, p.large)
		}
		u.large, u.offset, u.count = p.large, p.offset, 1
		p.offset += chunkSize
		if p.offset >= size {
			p.file++
			p.offset = 0
		}
		return u, true
	}
	total := int64(0)
	for p.file < len(p.c.Files) && u.count < chunkFiles {
		total += p.c.Files[p.file].Size
		if u.count > 0 && total > chunkSize {
			break
		}
		u.count++
		p.file++
	}
	return u, true
}

// units counts what take will hand out.
func (c *Collection) units() int {
	p := &planner{c: c, dryRun: true}
	for {
		if _, ok := p.take(); !ok {
			return p.ticket
		}
	}
}

// changedError says that a file is not what it was when it was collected.
type changedError struct {
	file int
	what string
}

func (e *changedError) Error() string { return e.what }

// stream reads all files. transform runs in the workers on each filled chunk, may be nil;
// consumers run side by side, each sees every chunk in order and must not keep it.
func (c *Collection) stream(ctx context.Context, transform func() func(*chunk) error, consumers ...func(*chunk) error) error {
	workers := min(runtime.GOMAXPROCS(0), 8)
	window := workers + 2
	total := c.units()
	plan := &planner{c: c}
	defer func() {
		for _, l := range plan.pending {
			l.close()
		}
	}()
	slots := make(chan struct{}, window)
	ready := make([]chan *chunk, window)
	for i := range ready {
		ready[i] = make(chan *chunk, 1)
	}
	var pool sync.Pool
	g, ctx := errgroup.WithContext(ctx)

	for range workers {
		g.Go(func() error {
			var apply func(*chunk) error
			if transform != nil {
				apply = transform()
			}
			for {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				u, ok := plan.take()
				if !ok {
					<-slots
					return nil
				}
				ch, _ := pool.Get().(*chunk)
				if ch == nil {
					ch = &chunk{buf: make([]byte, dictSize+chunkSize+1)}
				}
				ch.ticket = u.ticket
				ch.users.Store(int32(len(consumers)))
				if err := c.read(u, ch); err != nil {
					return err
				}
				if apply != nil {
					if err := apply(ch); err != nil {
						return err
					}
				}
				// The slot guarantees that ticket-window has been released, so this never blocks.
				ready[u.ticket%window] <- ch
			}
		})
	}
	queues := make([]chan *chunk, len(consumers))
	for i, consume := range consumers {
		queue := make(chan *chunk, window)
		queues[i] = queue
		g.Go(func() error {
			for ch := range queue {
				if err := consume(ch); err != nil {
					return err
				}
				if ch.users.Add(-1) == 0 {
					pool.Put(ch)
					<-slots
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		for ticket := range total {
			select {
			case ch := <-ready[ticket%window]:
				for _, q := range queues {
					q <- ch // holds a window's worth: never blocks
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// read fills ch with the unit's content.
func (c *Collection) read(u unit, ch *chunk) error {
	ch.parts = ch.parts[:0]
	if u.large != nil {
		return u.large.read(u.offset, ch)
	}
	buf := ch.buf
	for i := u.first; i < u.first+u.count; i++ {
		size := int(c.Files[i].Size)
		if err := c.readWhole(i, buf[:size+1]); err != nil {
			return err
		}
		ch.parts = append(ch.parts, part{file: i, data: buf[:size:size], first: true, last: true})
		buf = buf[size:]
	}
	return nil
}

// readWhole reads file i, for which buf has one byte more than it should need.
func (c *Collection) readWhole(i int, buf []byte) error {
	f, err := c.open(i)
	if err != nil {
		return err
	}
	defer f.close()
	n, err := f.readAt(buf, 0)
	if err != nil {
		return fileError(c.Files[i].below(), err)
	}
	return c.unchanged(i, f, n-(len(buf)-1))
}

func (c *Collection) open(i int) (*rawFile, error) {
	f, err := openRaw(c.path(i))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &changedError{file: i, what: "vanished"}
	}
	if isLoop(err) {
		return nil, &changedError{file: i, what: "was replaced by a link"}
	}
	if err != nil {
		return nil, fileError(c.Files[i].below(), err)
	}
	return f, nil
}

// unchanged compares the file with what was seen when it was collected; surplus is how many
// bytes more than its size were read.
func (c *Collection) unchanged(i int, f *rawFile, surplus int) error {
	now, _, err := fstat(f)
	if err != nil {
		return fileError(c.Files[i].below(), err)
	}
	seen := c.Files[i].seen
	switch {
	case surplus < 0 || now.size < seen.size:
		return &changedError{file: i, what: "shrank"}
	case surplus > 0 || now.size > seen.size:
		return &changedError{file: i, what: "grew"}
	case now != seen:
		return &changedError{file: i, what: "changed"}
	}
	return nil
}

// largeFileReader reads one file's blocks for several workers.
type largeFileReader struct {
	c    *Collection
	file int
	left atomic.Int64 // blocks not read yet
	mu   sync.Mutex
	f    *rawFile
}

func (l *largeFileReader) open() (*rawFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		f, err := l.c.open(l.file)
		if err != nil {
			return nil, err
		}
		l.f = f
	}
	return l.f, nil
}

func (l *largeFileReader) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.close()
		l.f = nil
	}
}

func (l *largeFileReader) read(offset int64, ch *chunk) error {
	f, err := l.open()
	if err != nil {
		return err
	}
	size := l.c.Files[l.file].Size
	length := int(min(chunkSize, size-offset))
	dict := int(min(dictSize, offset))
	last := offset+int64(length) == size
	want := dict + length
	if last {
		want++ // to see whether it goes on
	}
	n, err := f.readAt(ch.buf[:want], offset-int64(dict))
	if err != nil {
		return fileError(l.c.Files[l.file].below(), err)
	}
	if n < dict+length {
		return &changedError{file: l.file, what: "shrank"}
	}
	if l.left.Add(-1) == 0 {
		err := l.c.unchanged(l.file, f, 0)
		l.close()
		if err != nil {
			return err
		}
	}
	if n > dict+length {
		return &changedError{file: l.file, what: "grew"}
	}
	ch.parts = append(ch.parts, part{
		file: l.file, dict: ch.buf[:dict], data: ch.buf[dict : dict+length : dict+length],
		first: offset == 0, last: last,
	})
	return nil
}

// retried runs attempt, and once more when a file changed meanwhile: somebody may just have
// saved it. A second change is an error of kind changed.
func (c *Collection) retried(attempt func() error) error {
	for again := false; ; again = true {
		err := attempt()
		var changed *changedError
		if !errors.As(err, &changed) {
			return err
		}
		name := c.Files[changed.file].below()
		if again {
			return &Error{Kind: KindChanged, Path: name, Reason: fmt.Sprintf("the file %s while it was packed", changed.what)}
		}
		err = c.statFile(changed.file)
		if KindOf(err) == KindNotFound {
			return &Error{Kind: KindChanged, Path: name, Reason: "the file vanished while it was packed"}
		}
		if err != nil {
			return err
		}
	}
}
