package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"syscall"
)

// Errors that callers branch on; they come wrapped with what they are about.
var (
	// ErrNotFound: there is no such object, no such bucket, or no such folder.
	ErrNotFound = errors.New("not found")
	// ErrDigest: the bytes are not the ones that were asked for.
	ErrDigest = errors.New("wrong digest")
	// ErrConflict: another object has the key.
	ErrConflict = errors.New("another object has this key")
	// ErrUnauthorized: there are no credentials, or they do not allow it.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnavailable: the store did not answer, broke off, or asked to come back later, and went
	// on so when it was asked again.
	ErrUnavailable = errors.New("storage is unavailable")
)

var kinds = [...]error{ErrNotFound, ErrDigest, ErrConflict, ErrUnauthorized, ErrUnavailable}

// fail says what was done to which object, and what kind of failure it is. A nil err stays nil.
func (s *Store) fail(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("storage: %s %q in %q: %w", verb, key, s.name, explain(err))
}

// explain gives an error of a driver one of the kinds, where one fits, and a text of one line
// without secrets.
func explain(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return err
		}
	}
	kind := kindOf(err)
	if kind == ErrNotFound && !noBucket(err) {
		return kind
	}
	return &driverError{kind: kind, err: err}
}

// driverError is what a driver said.
type driverError struct {
	kind error // nil where none fits
	err  error
}

func (e *driverError) Error() string {
	text := plain(e.err)
	switch {
	case e.kind == ErrNotFound:
		text = "the bucket does not exist"
	case otherRegion[codeOf(e.err)]:
		text = "the bucket is in another region: " + text
	}
	if e.kind == nil {
		return text
	}
	return e.kind.Error() + ": " + text
}

func (e *driverError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// plain is the text of a driver's error in one line, without what may be secret.
func plain(err error) string {
	var said []string
	for line := range strings.Lines(err.Error()) {
		// Azure's errors are drawn like a table, with the response in it.
		if line = strings.TrimSpace(line); strings.Trim(line, "-") != "" && line[0] != '<' {
			said = append(said, line)
		}
	}
	return Redact(strings.Join(said, ", "))
}

// kindOf returns the kind of a driver's error, or nil.
func kindOf(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	status := statusOf(err)
	switch code := codeOf(err); {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, expiredCredentials[code], otherRegion[code]:
		return ErrUnauthorized
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return ErrUnavailable
	case status != 0:
		return nil
	}
	if text := strings.ToLower(err.Error()); strings.Contains(text, "checksum did not match") || strings.Contains(text, "bad crc") {
		return ErrDigest
	}
	// A request may have failed before any server was asked. Signed URLs have the word as well.
	text := err.Error()
	if request, ok := errors.AsType[*url.Error](err); ok {
		text = strings.ReplaceAll(text, request.URL, "")
	}
	if strings.Contains(strings.ToLower(text), "credential") {
		return ErrUnauthorized
	}
	switch kind := driverKind(err); kind {
	case ErrNotFound, ErrUnauthorized, ErrUnavailable:
		return kind
	}
	if cut(err) {
		return ErrUnavailable
	}
	return nil
}

// expiredCredentials are codes of S3 that come with status 400.
var expiredCredentials = map[string]bool{"ExpiredToken": true, "InvalidToken": true, "TokenRefreshRequired": true}

// otherRegion are codes of S3 for a request that was made, and signed, for the wrong region.
var otherRegion = map[string]bool{"AuthorizationHeaderMalformed": true, "PermanentRedirect": true, "IllegalLocationConstraintException": true}

// noBucket reports whether what was not found is the bucket. A request that makes an object can
// miss nothing else.
func noBucket(err error) bool {
	switch code := codeOf(err); code {
	case "NoSuchBucket", "ContainerNotFound":
		return true
	}
	return strings.Contains(err.Error(), "bucket doesn't exist")
}

// cut reports whether err is that of a connection which was not made or broke off.
func cut(err error) bool {
	var network *net.OpError
	var request *url.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &network) || errors.As(err, &request)
}

// statusOf returns the HTTP status that the store answered, or 0. The SDKs' errors have it in a
// method or a field; to name their types would be to link the SDKs in.
func statusOf(err error) int {
	for err := range tree(err) {
		if e, ok := err.(interface{ HTTPStatusCode() int }); ok {
			return e.HTTPStatusCode()
		}
		for _, name := range []string{"StatusCode", "Code"} { // Azure's, Google's
			if f := field(err, name); f.IsValid() && f.CanInt() && 100 <= f.Int() && f.Int() < 600 {
				return int(f.Int())
			}
		}
	}
	return 0
}

// codeOf returns the store's own word for the error, or "".
func codeOf(err error) string {
	for err := range tree(err) {
		if e, ok := err.(interface{ ErrorCode() string }); ok {
			return e.ErrorCode()
		}
		if f := field(err, "ErrorCode"); f.IsValid() && f.Kind() == reflect.String {
			return f.String()
		}
	}
	return ""
}

// field returns a field of the struct that err points to, or the zero Value.
func field(err error, name string) reflect.Value {
	v := reflect.ValueOf(err)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName(name)
}

// tree yields err and all that it wraps.
func tree(err error) func(yield func(error) bool) {
	var visit func(err error, yield func(error) bool) bool
	visit = func(err error, yield func(error) bool) bool {
		if err == nil {
			return true
		}
		if !yield(err) {
			return false
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			return visit(e.Unwrap(), yield)
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				if !visit(err, yield) {
					return false
				}
			}
		}
		return true
	}
	return func(yield func(error) bool) { visit(err, yield) }
}
