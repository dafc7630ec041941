package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cache remembers, per tree, what its files hashed to, keyed by what the file system says of
// each: mode, size, modification and change time, inode and device. A file that was touched
// within two seconds before it was read is not believed the next time, because a later write
// in the same tick of a coarse clock would look the same; git calls such entries racily clean.
//
// A cache that is damaged, unreadable or cannot be written costs time, never correctness.
type Cache struct{ dir string }

// OpenCache returns the cache in dir, which is created when first needed.
func OpenCache(dir string) *Cache { return &Cache{dir: dir} }

const (
	cacheMagic  = "flowship tree 1\n"
	cacheSuffix = ".tree"
	// cacheTrees bounds how many trees are remembered; the least recently hashed go first.
	cacheTrees = 128
	// racySpan covers the coarsest clock of a file system in use, FAT's two seconds.
	racySpan = 2 * time.Second
	// recordSize is a record without its name.
	recordSize = 2 + 8 + 8 + 8 + 8 + 8 + 1 + sha256.Size
)

var cacheTable = crc32.MakeTable(crc32.Castagnoli)

// path names the tree's file: the same patterns below the same directory are one tree.
func (k *Cache) path(c *Collection) string {
	h := sha256.New()
	for _, s := range append([]string{c.Base, c.entrypoint}, c.Include...) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
	return filepath.Join(k.dir, hex.EncodeToString(h.Sum(nil)[:16])+cacheSuffix)
}

// lookup fills in the files' digests when nothing changed since they were stored. It reads
// files only where it must to be sure.
func (k *Cache) lookup(ctx context.Context, c *Collection) (Digest, bool, error) {
	data, err := os.ReadFile(k.path(c))
	if err != nil {
		return Digest{}, false, nil
	}
	digest, records, ok := openTree(data, len(c.Files))
	if !ok {
		return Digest{}, false, nil
	}
	var doubtful []int
	for i := range c.Files {
		f := &c.Files[i]
		var r record
		if r, records, ok = nextRecord(records); !ok || string(r.name) != f.Path {
			return Digest{}, false, nil
		}
		if r.seen.mode != f.seen.mode || r.seen.size != f.seen.size {
			return Digest{}, false, nil
		}
		f.SHA256 = r.sum
		if r.racy || r.seen != f.seen {
			doubtful = append(doubtful, i)
		}
	}
	if len(records) != 0 {
		return Digest{}, false, nil
	}
	if len(doubtful) == 0 {
		return digest, true, nil
	}
	// Touched, but perhaps not changed: their content decides. If much must be read, reading
	// everything in order is as fast.
	unsure := int64(0)
	for _, i := range doubtful {
		unsure += c.Files[i].Size
	}
	if unsure > c.TotalSize()/2 && unsure > chunkSize || len(doubtful) > 1+len(c.Files)/2 && len(doubtful) > chunkFiles {
		return Digest{}, false, nil
	}
	started := time.Now()
	for _, i := range doubtful {
		sum, err := c.hashFile(ctx, i)
		if ctx.Err() != nil {
			return Digest{}, false, ctx.Err()
		}
		if err != nil || sum != c.Files[i].SHA256 {
			return Digest{}, false, nil // the full pass will say what is wrong with it
		}
	}
	k.store(c, digest, started)
	return digest, true, nil
}

// store remembers a hashed tree. started is when reading began.
func (k *Cache) store(c *Collection, digest Digest, started time.Time) {
	size := len(cacheMagic) + sha256.Size + 4 + 4
	for i := range c.Files {
		size += binary.MaxVarintLen32 + len(c.Files[i].Path) + recordSize
	}
	out := make([]byte, 0, size)
	out = append(out, cacheMagic...)
	out = append(out, digest[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(c.Files)))
	for i := range c.Files {
		f := &c.Files[i]
		out = appendRecord(out, record{name: []byte(f.Path), seen: f.seen, racy: f.seen.recent(started, racySpan), sum: f.SHA256})
	}
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(out, cacheTable))
	if os.MkdirAll(k.dir, 0o700) != nil {
		return
	}
	if writeAtomic(k.path(c), 0o600, false, func(f *os.File) error {
		_, err := f.Write(out)
		return err
	}) == nil {
		k.evict()
	}
}

// evict forgets the trees that were hashed longest ago.
func (k *Cache) evict() {
	entries, err := os.ReadDir(k.dir)
	if err != nil || len(entries) <= cacheTrees {
		return
	}
	type tree struct {
		name string
		at   time.Time
	}
	var trees []tree
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), cacheSuffix) {
			trees = append(trees, tree{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(trees, func(a, b tree) int { return a.at.Compare(b.at) })
	for _, t := range trees[:max(0, len(trees)-cacheTrees)] {
		os.Remove(filepath.Join(k.dir, t.name))
	}
}

// record is what is remembered of one file.
type record struct {
	name []byte
	seen fingerprint
	racy bool
	sum  Digest
}

// openTree checks a cache file and returns its digest and records.
func openTree(data []byte, count int) (Digest, []byte, bool) {
	head := len(cacheMagic) + sha256.Size + 4
	if len(data) < head+4 || !bytes.HasPrefix(data, []byte(cacheMagic)) {
		return Digest{}, nil, false
	}
	body, sum := data[:len(data)-4], data[len(data)-4:]
	if binary.BigEndian.Uint32(body[head-4:]) != uint32(count) || crc32.Checksum(body, cacheTable) != binary.BigEndian.Uint32(sum) {
		return Digest{}, nil, false
	}
	return Digest(body[len(cacheMagic):]), body[head:], true
}

func appendRecord(out []byte, r record) []byte {
	out = binary.AppendUvarint(out, uint64(len(r.name)))
	out = append(out, r.name...)
	out = binary.BigEndian.AppendUint16(out, uint16(r.seen.mode))
	for _, v := range [...]uint64{uint64(r.seen.size), uint64(r.seen.mtime), uint64(r.seen.ctime), r.seen.ino, r.seen.dev} {
		out = binary.BigEndian.AppendUint64(out, v)
	}
	racy := byte(0)
	if r.racy {
		racy = 1
	}
	out = append(out, racy)
	return append(out, r.sum[:]...)
}

func nextRecord(in []byte) (r record, rest []byte, ok bool) {
	n, w := binary.Uvarint(in)
	if w <= 0 || uint64(len(in)-w) < n || uint64(len(in)-w)-n < recordSize {
		return record{}, nil, false
	}
	r.name, in = in[w:w+int(n)], in[w+int(n):]
	r.seen.mode = Mode(binary.BigEndian.Uint16(in))
	u := func(at int) uint64 { return binary.BigEndian.Uint64(in[2+8*at:]) }
	r.seen.size, r.seen.mtime, r.seen.ctime, r.seen.ino, r.seen.dev = int64(u(0)), int64(u(1)), int64(u(2)), u(3), u(4)
	r.racy = in[42] != 0
	r.sum = Digest(in[43:])
	return r, in[recordSize:], true
}
