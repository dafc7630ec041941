package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is a SHA-256. The zero Digest means "not known"; a parsed one is always valid.
// Its text form is "sha256:" and 64 lower-case hexadecimal digits.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// ParseDigest reads "sha256:<64 hex>", or the 64 hexadecimal digits alone.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	digits := strings.TrimPrefix(s, digestPrefix)
	if len(digits) != 2*len(d) || strings.ToLower(digits) != digits {
		return Digest{}, fmt.Errorf("bundle: %q is not a digest: want %s and 64 lower-case hexadecimal digits", s, digestPrefix)
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("bundle: %q is not a digest: %w", s, err)
	}
	if d.IsZero() {
		return Digest{}, fmt.Errorf("bundle: %q is not the digest of anything", s)
	}
	return d, nil
}

// parseHex reads the 64 digits alone.
func parseHex(s string) (Digest, error) {
	if strings.HasPrefix(s, digestPrefix) {
		return Digest{}, fmt.Errorf("bundle: %q has a prefix; want the 64 hexadecimal digits alone", s)
	}
	return ParseDigest(s)
}

// Hex returns the 64 digits without the prefix, as keys and manifests write them.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the text form, or "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return digestPrefix + d.Hex()
}

// IsZero reports whether d is "not known".
func (d Digest) IsZero() bool { return d == Digest{} }

const (
	filesKeyPrefix = "files/"
	filesKeySuffix = ".zip"
)

// FilesKey returns the storage key of the sidecar whose canonical digest is d, as Prefect
// names it: files/<64 hex>.zip.
func FilesKey(d Digest) string { return filesKeyPrefix + d.Hex() + filesKeySuffix }

// ParseFilesKey is the inverse of [FilesKey].
func ParseFilesKey(key string) (Digest, error) {
	digits, ok := strings.CutPrefix(key, filesKeyPrefix)
	digits, ok2 := strings.CutSuffix(digits, filesKeySuffix)
	if !ok || !ok2 || strings.Contains(digits, ":") {
		return Digest{}, fmt.Errorf("bundle: files key %q is not %s<64 hex>%s", key, filesKeyPrefix, filesKeySuffix)
	}
	d, err := ParseDigest(digits)
	if err != nil {
		return Digest{}, fmt.Errorf("bundle: files key %q is not %s<64 hex>%s", key, filesKeyPrefix, filesKeySuffix)
	}
	return d, nil
}
