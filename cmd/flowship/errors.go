package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// kind is the word that says what sort of thing went wrong, in JSON and for the exit code.
// Those of package bundle are its own words.
type kind string

const (
	kindUsage        kind = "usage"
	kindUnauthorized kind = "unauthorized"
	kindUnavailable  kind = "unavailable"
	kindTimeout      kind = "timeout"
	kindInternal     kind = "internal"

	// Nothing is wrong with what was asked for, and it may be asked for again.
	kindInterrupted = kindUnavailable
)

// The exit codes that are not 0. A command that is run ends flowship with the command's own.
const (
	exitDifferent   = 1
	exitUsage       = 2
	exitRefused     = 3
	exitNotFound    = 4
	exitUnavailable = 5
	exitTimeout     = 124
	exitInterrupted = 130
)

func (k kind) exitCode() int {
	switch bundle.Kind(k) {
	case bundle.KindNotFound:
		return exitNotFound
	case bundle.KindTampered, bundle.KindRefused:
		return exitRefused
	case bundle.KindEmpty, bundle.KindWhitespace, bundle.KindNullByte, bundle.KindAbsolute, bundle.KindTraversal,
		bundle.KindSymlinkLoop, bundle.KindInvalidPattern, bundle.KindUnreadable, bundle.KindChanged, bundle.KindConflict:
		return exitUsage
	}
	switch k {
	case kindUsage:
		return exitUsage
	case kindTimeout:
		return exitTimeout
	}
	return exitUnavailable
}

// usageError is a command line that cannot be meant.
type usageError struct {
	err  error
	hint string // what to type instead; "" points to --help
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// hinted is an error for which the command knows better than its kind what to do next.
type hinted struct {
	err  error
	kind kind // "" to let the error say
	hint string
	code int // 0 to let the kind say
	// embedded: the hint is about the embedded default, and no help with a Prefect server.
	embedded bool
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// exitStatus ends the process with a code and says nothing: everything was printed.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// fail prints err with its hint and returns the exit code.
func (c *console) fail(ctx context.Context, cmd *cobra.Command, err error) int {
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	k, hint := kindOf(err), ""
	code, given := exitCode(k, err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) && !given {
		k, code, err = kindInterrupted, exitInterrupted, errors.New("interrupted")
	} else {
		hint = c.hintFor(cmd, k, err)
	}
	if c.json {
		var e struct {
			Error struct {
				Kind    kind   `json:"kind"`
				Message string `json:"message"`
				Hint    string `json:"hint"`
			} `json:"error"`
		}
		e.Error.Kind, e.Error.Message, e.Error.Hint = k, err.Error(), hint
		line, _ := jsonLine(e) // three strings always encode
		fmt.Fprintf(c.err, "%s\n", line)
		return code
	}
	fmt.Fprintln(c.err, paint(c.errStyled, red, "error:"), err)
	if hint != "" {
		fmt.Fprintln(c.err, paint(c.errStyled, dim, "hint: "+hint))
	}
	return code
}

// exitCode returns the code that err gives itself or, if it does not, that of its kind.
func exitCode(k kind, err error) (code int, given bool) {
	if h, ok := errors.AsType[*hinted](err); ok && h.code != 0 {
		return h.code, true
	}
	return k.exitCode(), false
}

func kindOf(err error) kind {
	var h *hinted
	if errors.As(err, &h) && h.kind != "" {
		return h.kind
	}
	var u *usageError
	var invalid *submit.InvalidError
	var variable *launch.VariableError
	var image *oci.InvalidError
	switch {
	case errors.As(err, &u), errors.As(err, &invalid), errors.As(err, &variable), errors.As(err, &image):
		return kindUsage
	case errors.Is(err, context.DeadlineExceeded):
		return kindTimeout
	}
	if k := bundle.KindOf(err); k != "" {
		return kind(k)
	}
	if _, ok := errors.AsType[*submit.UnverifiedError](err); ok {
		return kind(bundle.KindTampered)
	}
	switch {
	case errors.Is(err, oci.ErrUnauthorized):
		return kindUnauthorized
	case errors.Is(err, oci.ErrUnavailable):
		return kindUnavailable
	case errors.Is(err, oci.ErrNotFound):
		return kind(bundle.KindNotFound)
	case errors.Is(err, storage.ErrUnauthorized), errors.Is(err, prefect.ErrUnauthorized):
		return kindUnauthorized
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, prefect.ErrUnavailable):
		return kindUnavailable
	case errors.Is(err, execute.ErrPrefectAPI):
		return kind(bundle.KindRefused)
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, execute.ErrNoPython),
		errors.Is(err, orchestrator.ErrNotFound), errors.Is(err, orchestrator.ErrNoWorkPool):
		return kind(bundle.KindNotFound)
	case errors.Is(err, submit.ErrNoBlock), errors.Is(err, submit.ErrNoBundle):
		return kind(bundle.KindNotFound)
	case errors.Is(err, storage.ErrDigest):
		return kind(bundle.KindTampered)
	case errors.Is(err, storage.ErrConflict), errors.Is(err, orchestrator.ErrUnfinished), errors.Is(err, orchestrator.ErrExists):
		return kind(bundle.KindConflict)
	case errors.Is(err, orchestrator.ErrAmbiguous), errors.Is(err, orchestrator.ErrName), errors.Is(err, submit.ErrNoDriver),
		errors.Is(err, storage.ErrUnsigned), errors.Is(err, submit.ErrNoStorage):
		return kindUsage
	}
	if refused, ok := errors.AsType[*prefect.StatusError](err); ok {
		switch refused.Status {
		case http.StatusConflict:
			return kind(bundle.KindConflict)
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			return kindUsage
		}
	}
	return kindInternal
}

// noAPI reports whether the address is that of a server, but not of an API: it knows nothing of
// what every API has.
func noAPI(err error) bool {
	refused, ok := errors.AsType[*prefect.StatusError](err)
	return ok && (refused.Status == http.StatusNotFound || refused.Status == http.StatusMethodNotAllowed) && strings.HasSuffix(refused.Path, "/filter")
}

// unavailable gives errors of the backend, the storage and the infrastructure their kind, where
// they do not say more.
func unavailable(err error) error {
	switch {
	case noAPI(err):
		return &hinted{err: err, kind: kindUnavailable, hint: "look at PREFECT_API_URL: the address of an API ends in /api"}
	case errors.Is(err, submit.ErrNoBlock):
		return &hinted{err: err, hint: "prefect block ls shows the blocks that the server has; it, the server's page or a program in Python makes one"}
	case errors.Is(err, prefect.ErrUnauthorized):
		return &hinted{err: err, hint: "look at PREFECT_API_KEY or PREFECT_API_AUTH_STRING, and at the active profile: flowship doctor"}
	case errors.Is(err, prefect.ErrUnavailable):
		return &hinted{err: err, hint: "look at PREFECT_API_URL, and whether the server runs: flowship doctor"}
	}
	if _, ok := errors.AsType[*prefect.StatusError](err); ok && kindOf(err) != kindInternal {
		return &hinted{err: err} // its kind asks for something else where it is about files
	}
	if kindOf(err) != kindInternal {
		return err
	}
	hint := "FLOWSHIP_HOME says where flowship keeps bundles and flow runs; it must be a directory that it can write to"
	return &hinted{err: err, kind: kindUnavailable, hint: hint, embedded: true}
}

// unavailableStore does so for errors of a store that a URL names.
func unavailableStore(err error) error {
	if errors.Is(err, submit.ErrNoBlock) {
		return unavailable(err)
	}
	switch kindOf(err) {
	case kindUnauthorized, kindUnavailable:
		return &hinted{err: err, hint: "flowship doctor --url URL looks for what is in the way"}
	case kindInternal:
		return &hinted{err: err, kind: kindUnavailable, hint: "a store is s3://bucket, gs://bucket, azblob://container or file:///dir"}
	}
	return err
}

// aboutSubmission gives errors of what has a flow run launched their hints.
func aboutSubmission(err error) error {
	if variable, ok := errors.AsType[*launch.VariableError](err); ok {
		hint := "flowship work-pool inspect NAME shows the job variables that there are"
		if variable.Reason != "" {
			hint = `flowship work-pool inspect NAME shows what is wanted; a value that is JSON is read as JSON, so a number as text is -v 'NAME="1000"'`
		}
		return &hinted{err: err, hint: hint}
	}
	if errors.Is(err, storage.ErrUnsigned) {
		return &hinted{err: err, hint: "to sign takes the key of a Google service account, or that of an Azure storage account; or use --storage-access ambient"}
	}
	if errors.Is(err, submit.ErrNoStorage) {
		return &hinted{err: err, hint: "flowship work-pool storage configure s3 NAME --bucket B has bundles stored in a bucket; or gcs, or azure-blob-storage"}
	}
	if failed, ok := errors.AsType[*submit.LaunchError](err); ok {
		k := kindOf(err)
		if k == kindInternal {
			k = kindUnavailable
		}
		return &hinted{err: err, kind: k, hint: "flowship flow-run inspect " + shortID(failed.ID) + " shows the run, which is recorded"}
	}
	switch {
	case errors.Is(err, storage.ErrUnauthorized), errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrNotFound):
		return &hinted{err: err, hint: "flowship doctor --pool NAME looks for what is in the way; flowship work-pool storage inspect NAME shows where bundles are stored"}
	}
	return aboutWorkPool(err)
}

// packing marks, in a command's annotations, those that collect files. The same kind of error
// asks for another remedy there than where a bundle is read.
const packing = "packing"

func (c *console) hintFor(cmd *cobra.Command, k kind, err error) string {
	var h *hinted
	if errors.As(err, &h) {
		if h.embedded && c.onPrefect {
			return ""
		}
		return h.hint
	}
	var u *usageError
	if errors.As(err, &u) {
		if u.hint != "" {
			return u.hint
		}
		return fmt.Sprintf("see %s --help", cmd.CommandPath())
	}
	if _, ok := cmd.Annotations[packing]; ok {
		return packingHint(bundle.Kind(k), err)
	}
	return readingHint(bundle.Kind(k))
}

func packingHint(k bundle.Kind, err error) string {
	switch k {
	case bundle.KindEmpty, bundle.KindWhitespace:
		return "name a file, a directory or a pattern: --include data/"
	case bundle.KindNullByte:
		return "no file name can hold a null byte"
	case bundle.KindAbsolute:
		return "patterns are relative to the base directory; --dir sets another one"
	case bundle.KindTraversal:
		return "only what lies below the base directory can travel; --dir sets another one"
	case bundle.KindSymlinkLoop:
		return "mend the link, or do not name it"
	case bundle.KindInvalidPattern:
		return "patterns are those of .gitignore: ! negates, a backslash takes away a character's meaning"
	case bundle.KindUnreadable:
		return "make it readable" + leaveOut(err)
	case bundle.KindRefused:
		return "rename or replace it" + leaveOut(err)
	case bundle.KindChanged:
		return "wait until nothing writes to it, then pack again" + leaveOut(err)
	case bundle.KindConflict:
		return "remove what stands there, or choose another place"
	case bundle.KindNotFound:
		return "look at the spelling; --dir sets the directory that patterns are relative to"
	case bundle.KindTampered:
		return "run it again: what is damaged in the store is packed again"
	}
	return ""
}

// leaveOut proposes the pattern that does without the file that err is about, where a pattern
// can name it.
func leaveOut(err error) string {
	var e *bundle.Error
	if !errors.As(err, &e) || shown(e.Path) != e.Path || strings.ContainsAny(e.Path, `\*?[]'! `) {
		return ""
	}
	return fmt.Sprintf(", or leave it out: --include '!/%s'", e.Path)
}

// executingHint is for a bundle that was not run.
func executingHint(err error) string {
	switch {
	case errors.Is(err, execute.ErrNoPython):
		return "install Python 3.9 or later where the flow is run, or name an interpreter: FLOWSHIP_PYTHON=.venv/bin/python"
	case errors.Is(err, execute.ErrPrefectAPI):
		return "unset PREFECT_API_URL to run the flow's function without Prefect"
	}
	return readingHint(bundle.Kind(kindOf(err)))
}

func readingHint(k bundle.Kind) string {
	switch k {
	case bundle.KindTampered:
		return "do not use it; get the bundle from where it was built, or build it again"
	case bundle.KindRefused:
		return "do not use it unless you trust who made it"
	case bundle.KindConflict:
		return "remove what stands there, or choose another place"
	case bundle.KindUnreadable:
		return "look at the permissions"
	case bundle.KindNotFound:
		return "a bundle is the directory that bundle build wrote, its bundle.json, or a sidecar zip"
	}
	return ""
}
