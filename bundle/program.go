package bundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const programKeyPrefix = "programs/"

// ProgramKey returns the storage key of a Go flow's program whose bytes hash to d:
// programs/<64 hex>.
func ProgramKey(d Digest) string { return programKeyPrefix + d.Hex() }

// ParseProgramKey is the inverse of [ProgramKey].
func ParseProgramKey(key string) (Digest, error) {
	digits, ok := strings.CutPrefix(key, programKeyPrefix)
	d, err := parseHex(digits)
	if !ok || err != nil {
		return Digest{}, fmt.Errorf("bundle: program key %q is not %s<64 hex>", key, programKeyPrefix)
	}
	return d, nil
}

// putProgram copies a program into dir, under the key that its bytes give it.
func putProgram(ctx context.Context, path, dir string) (key string, err error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	programs := filepath.Join(dir, filepath.FromSlash(programKeyPrefix))
	if err := os.MkdirAll(programs, 0o777); err != nil {
		return "", writeError(programs, err)
	}
	err = writeAs(programs, 0o777, false, func(to *os.File) (string, error) {
		sum, err := hashAll(ctx, io.TeeReader(f, to))
		if err != nil {
			return "", err
		}
		key = ProgramKey(sum)
		return filepath.Join(dir, filepath.FromSlash(key)), nil
	})
	if err != nil {
		os.Remove(programs) // if it is empty: it was made for nothing
		return "", writeError(programs, err)
	}
	return key, nil
}

// hashAll reads to the end, or until ctx ends.
func hashAll(ctx context.Context, r io.Reader) (Digest, error) {
	h := sha256.New()
	for {
		if err := context.Cause(ctx); err != nil {
			return Digest{}, err
		}
		switch _, err := io.CopyN(h, r, 1<<20); {
		case errors.Is(err, io.EOF):
			return Digest(h.Sum(nil)), nil
		case err != nil:
			return Digest{}, err
		}
	}
}

// verifyProgram checks the program's own bytes.
func (b *Bundle) verifyProgram(ctx context.Context, r *Report) error {
	if b.Document == nil || b.Document.Flowship == nil || b.Document.Flowship.Program == nil {
		return nil
	}
	key := b.Document.Flowship.Program.Key
	want, err := ParseProgramKey(key)
	if err != nil {
		r.add(ProblemDocument, key, "the key does not name the program's bytes")
		return nil
	}
	f, err := os.Open(b.ProgramPath)
	if errors.Is(err, fs.ErrNotExist) {
		r.add(ProblemMissing, key, "the program is not there")
		return nil
	}
	if err != nil {
		return fileError(b.ProgramPath, err)
	}
	defer f.Close()
	got, err := hashAll(ctx, f)
	if err != nil {
		return fileError(b.ProgramPath, err)
	}
	if got != want {
		r.add(ProblemContent, key, "the program is %s", got)
	}
	return nil
}
