package gcs

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob/driver"
)

// SignedURL implements [driver.Bucket] by the signing process V4:
// https://cloud.google.com/storage/docs/authentication/signatures.
func (b *bucket) SignedURL(_ context.Context, key string, opts *driver.SignedURLOptions) (string, error) {
	if b.opts.Email == "" || len(b.opts.PrivateKey) == 0 {
		return "", fmt.Errorf("%w: only the key of a service account can sign URLs", errNotSupported)
	}
	signer, err := parseKey(b.opts.PrivateKey)
	if err != nil {
		return "", err
	}
	service, err := url.Parse(b.endpoint)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	scope := now.Format("20060102") + "/auto/storage/goog4_request"
	headers, signed := "host:"+service.Host+"\n", "host"
	if opts.ContentType != "" {
		headers, signed = "content-type:"+opts.ContentType+"\n"+headers, "content-type;host"
	}
	query := strings.Join([]string{
		"X-Goog-Algorithm=GOOG4-RSA-SHA256",
		"X-Goog-Credential=" + escape(b.opts.Email+"/"+scope),
		"X-Goog-Date=" + now.Format("20060102T150405Z"),
		"X-Goog-Expires=" + strconv.FormatInt(int64(opts.Expiry/time.Second), 10),
		"X-Goog-SignedHeaders=" + escape(signed),
	}, "&")
	path := "/" + escape(b.name) + "/" + strings.ReplaceAll(escape(key), "%2F", "/")
	request := strings.Join([]string{opts.Method, path, query, headers, signed, "UNSIGNED-PAYLOAD"}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{"GOOG4-RSA-SHA256", now.Format("20060102T150405Z"), scope, hex.EncodeToString(sum[:])}, "\n")
	sum = sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, signer, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("gcs: sign: %w", err)
	}
	return b.endpoint + path + "?" + query + "&X-Goog-Signature=" + hex.EncodeToString(signature), nil
}

// escape leaves only what RFC 3986 calls unreserved.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func parseKey(text []byte) (*rsa.PrivateKey, error) {
	// Errors of the parsers may repeat what they were given.
	invalid := errors.New("gcs: the private key is not a PEM-encoded RSA key")
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, invalid
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, invalid
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, invalid
	}
	return key, nil
}
