package bundle

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// A zip archive describes each entry twice, in a local header before its content and in the
// directory at the end, and nothing says that there is no more to it. Readers differ in what
// they believe. This file refuses archives in which the two disagree, and archives with bytes
// that belong to neither.

const (
	localSize      = 30 // of a local header, without name and extra field
	locatorSize    = 20 // of the pointer to zip64's end record
	zip64EndSize   = 56 // of zip64's end record
	localMark      = "PK\x03\x04"
	descriptorMark = "PK\x07\x08"
	endMark        = "PK\x05\x06"
	locatorMark    = "PK\x06\x07"
	zip64EndMark   = "PK\x06\x06"
)

// checkLayout makes sure that entries and directory fill the file.
func (a *archive) checkLayout() error {
	directory, err := a.directory()
	if err != nil {
		return a.damaged("has an end record that does not fit", err)
	}
	type place struct {
		entry *zip.File
		data  int64
	}
	places := make([]place, 0, len(a.entries))
	for _, e := range a.entries {
		data, err := e.DataOffset()
		if err != nil {
			return a.damaged(fmt.Sprintf("entry %q", e.Name), err)
		}
		places = append(places, place{e, data})
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Compare(x.data, y.data) })
	at := int64(0)
	for _, p := range places {
		if at, err = a.checkLocal(p.entry, p.data, at, directory); err != nil {
			return &Error{Kind: KindRefused, Path: p.entry.Name, Reason: "its local header and the directory disagree", Err: err}
		}
	}
	if at != directory {
		return a.damaged(fmt.Sprintf("has %d bytes that belong to no entry", directory-at), nil)
	}
	return nil
}

// directory returns where the directory starts, which must end where the end records begin.
func (a *archive) directory() (int64, error) {
	end := a.size - endSize - int64(len(a.comment))
	record := make([]byte, endSize)
	if _, err := a.file.ReadAt(record, end); err != nil {
		return 0, err
	}
	size, start := int64(binary.LittleEndian.Uint32(record[12:])), int64(binary.LittleEndian.Uint32(record[16:]))
	if locator := make([]byte, locatorSize); end >= locatorSize {
		if _, err := a.file.ReadAt(locator, end-locatorSize); err != nil {
			return 0, err
		}
		if bytes.HasPrefix(locator, []byte(locatorMark)) {
			end = int64(binary.LittleEndian.Uint64(locator[8:]))
			record = make([]byte, zip64EndSize)
			if _, err := a.file.ReadAt(record, end); err != nil {
				return 0, err
			}
			if !bytes.HasPrefix(record, []byte(zip64EndMark)) || end+zip64EndSize+locatorSize+endSize+int64(len(a.comment)) != a.size {
				return 0, errors.New("zip64's end record is not in its place")
			}
			size, start = int64(binary.LittleEndian.Uint64(record[40:])), int64(binary.LittleEndian.Uint64(record[48:]))
		}
	}
	if start < 0 || size < 0 || start+size != end {
		return 0, errors.New("the directory does not end where it should")
	}
	return start, nil
}

// checkLocal compares e with the local header, which must be at the offset at, before e's data,
// and returns the offset after the entry.
func (a *archive) checkLocal(e *zip.File, data, at, directory int64) (next int64, err error) {
	if data-at < localSize || data > directory || int64(e.CompressedSize64) > directory-data {
		return 0, errors.New("it is not where it should be")
	}
	local := make([]byte, min(data-at, localSize+int64(len(e.Name))))
	if _, err := a.file.ReadAt(local, at); err != nil {
		return 0, err
	}
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(local[i:]) }
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(local[i:]) }
	switch {
	case !bytes.HasPrefix(local, []byte(localMark)):
		return 0, errors.New("there is none")
	case string(local[localSize:]) != e.Name || int(u16(26)) != len(e.Name):
		return 0, errors.New("another name")
	case at+localSize+int64(u16(26))+int64(u16(28)) != data:
		return 0, errors.New("another length")
	case u16(6) != e.Flags || u16(8) != e.Method:
		return 0, errors.New("other flags, or another method")
	}
	next = data + int64(e.CompressedSize64)
	if e.Flags&flagDescriptor != 0 {
		return a.checkDescriptor(e, next, directory)
	}
	if u32(14) != e.CRC32 || !sameSize(u32(18), e.CompressedSize64) || !sameSize(u32(22), e.UncompressedSize64) {
		return 0, errors.New("another size or checksum")
	}
	return next, nil
}

// sameSize compares a 32 bit size, which refers to zip64's extra field when it is all ones.
func sameSize(short uint32, size uint64) bool {
	return uint64(short) == size || short == math.MaxUint32
}

// checkDescriptor checks the checksum and sizes that follow e's data. Their mark is optional,
// and sizes have 4 or 8 bytes: what comes next shows which.
func (a *archive) checkDescriptor(e *zip.File, at, directory int64) (next int64, err error) {
	d := make([]byte, min(directory-at, 24))
	if _, err := a.file.ReadAt(d, at); err != nil {
		return 0, err
	}
	length := int64(0)
	if bytes.HasPrefix(d, []byte(descriptorMark)) {
		d, length = d[4:], 4
	}
	if len(d) >= 20 && binary.LittleEndian.Uint32(d) == e.CRC32 &&
		binary.LittleEndian.Uint64(d[4:]) == e.CompressedSize64 && binary.LittleEndian.Uint64(d[12:]) == e.UncompressedSize64 {
		if next = at + length + 20; a.entryStarts(next, directory) {
			return next, nil
		}
	}
	if len(d) >= 12 && binary.LittleEndian.Uint32(d) == e.CRC32 &&
		sameSize(binary.LittleEndian.Uint32(d[4:]), e.CompressedSize64) && sameSize(binary.LittleEndian.Uint32(d[8:]), e.UncompressedSize64) {
		if next = at + length + 12; a.entryStarts(next, directory) {
			return next, nil
		}
	}
	return 0, errors.New("another size or checksum after the content")
}

// entryStarts reports whether an entry or the directory starts at the offset.
func (a *archive) entryStarts(at, directory int64) bool {
	if at == directory {
		return true
	}
	mark := make([]byte, len(localMark))
	_, err := a.file.ReadAt(mark, at)
	return (err == nil || errors.Is(err, io.EOF)) && string(mark) == localMark
}
