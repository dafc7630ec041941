package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"
)

// Mode is what Prefect hashes and stores of a file's st_mode: the low 16 bits, type bits
// included. Only regular files are packed, so text shows the permission bits alone: "0644",
// "04755".
type Mode uint16

const (
	modeRegular  Mode = 0o100000
	modeTypeMask Mode = 0o170000
	modePermMask Mode = 0o007777
)

// Perm returns the permission bits, setuid, setgid and sticky included.
func (m Mode) Perm() uint16 { return uint16(m & modePermMask) }

// String returns the permission bits as C and Python write octal: "0644".
func (m Mode) String() string { return "0" + strconv.FormatUint(uint64(m.Perm()), 8) }

// ParseMode reads what [Mode.String] writes and returns the mode of a regular file.
func ParseMode(s string) (Mode, error) {
	v, err := strconv.ParseUint(s, 8, 16)
	m := modeRegular | Mode(v)
	if err != nil || m.String() != s {
		return 0, fmt.Errorf("bundle: mode %q is not an octal number such as \"0644\"", s)
	}
	return m, nil
}

// Entry is one file of a manifest.
type Entry struct {
	Path   string // entry name in the archive: relative, slash separated, UTF-8
	Mode   Mode
	Size   int64 // bytes
	SHA256 Digest
}

// Manifest says exactly which files a bundle holds.
type Manifest struct {
	Digest  Digest  // Prefect's canonical digest over all entries; the sidecar's key is made of it
	Entries []Entry // in the order of the archive
}

// FilesKey returns the sidecar's storage key, or "" when there are no files.
func (m *Manifest) FilesKey() string {
	if len(m.Entries) == 0 {
		return ""
	}
	return FilesKey(m.Digest)
}

// TotalSize returns the sum of the entries' sizes in bytes.
func (m *Manifest) TotalSize() int64 {
	var n int64
	for i := range m.Entries {
		n += m.Entries[i].Size
	}
	return n
}

// canonical computes Prefect's content hash (FORMAT.md, "Canonical digest"): a prefix, then for
// every file its name, mode, size and content.
type canonical struct {
	h       hash.Hash
	scratch []byte
}

const canonicalPrefix = "prefect-bundle-files-v1\x00"

func newCanonical() *canonical {
	c := &canonical{h: sha256.New()}
	c.h.Write([]byte(canonicalPrefix))
	return c
}

// file starts the next file; its content follows through Write.
func (c *canonical) file(name string, mode Mode, size int64) {
	c.scratch = binary.BigEndian.AppendUint32(c.scratch[:0], uint32(len(name)))
	c.scratch = append(c.scratch, name...)
	c.scratch = binary.BigEndian.AppendUint32(c.scratch, uint32(mode))
	c.scratch = binary.BigEndian.AppendUint64(c.scratch, uint64(size))
	c.h.Write(c.scratch)
}

func (c *canonical) Write(p []byte) (int, error) { return c.h.Write(p) }

func (c *canonical) sum() (d Digest) {
	c.h.Sum(d[:0])
	return d
}
