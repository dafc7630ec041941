package bundle

import (
	"encoding/binary"
	"io"
)

// Listing is the table of contents of a sidecar: its files, without what they hash to.
type Listing struct {
	Entries []Entry  // in the order of the archive; their SHA256 is zero
	CRC32   []uint32 // of the entries, as the archive says
}

// List reads the table of contents of the sidecar with that name and size in bytes. It reads
// hardly more of r than that, and takes it at its word; [Bundle.Verify] does not. An error of r
// is returned as it is, one of the archive is a [Error] of kind tampered or refused.
func List(r io.ReaderAt, size int64, name string) (*Listing, error) {
	from := &listened{ReaderAt: r}
	a := &archive{path: name, file: from, size: size}
	err := a.list()
	if from.err != nil {
		return nil, from.err
	}
	if err != nil {
		return nil, err
	}
	l := &Listing{Entries: make([]Entry, 0, len(a.entries)), CRC32: make([]uint32, 0, len(a.entries))}
	for _, e := range a.entries {
		l.Entries = append(l.Entries, a.entry(e))
		l.CRC32 = append(l.CRC32, e.CRC32)
	}
	return l, nil
}

// listened remembers why reading failed, which a reader of archives takes for damage.
type listened struct {
	io.ReaderAt
	err error
}

func (l *listened) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.ReaderAt.ReadAt(p, off)
	if err != nil && err != io.EOF && l.err == nil {
		l.err = err
	}
	return n, err
}

// DiffListings compares two listings by path, mode, size and CRC-32.
func DiffListings(from, to *Listing) *Difference {
	d := Diff(from.marked(), to.marked())
	for _, list := range [][]Entry{d.Added, d.Removed} {
		for i := range list {
			list[i].SHA256 = Digest{}
		}
	}
	for i := range d.Changed {
		d.Changed[i].From.SHA256, d.Changed[i].To.SHA256 = Digest{}, Digest{}
	}
	return d
}

// marked is a manifest with checksums in place of digests.
func (l *Listing) marked() *Manifest {
	m := &Manifest{Entries: make([]Entry, len(l.Entries))}
	copy(m.Entries, l.Entries)
	for i := range m.Entries {
		binary.BigEndian.PutUint32(m.Entries[i].SHA256[:], l.CRC32[i])
	}
	return m
}
