package submit

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
)

// Module is a call of one of the Python modules that Prefect starts for a bundle, in the work of
// its client or of its workers: "python -m prefect_aws.bundles.upload --bucket …". It can be run
// without them, so flowship can stand where Prefect expects Python.
type Module struct {
	Name string
	kind *moduleKind

	bucket, key, block, file string
	digest                   bundle.Digest
}

// moduleKind is a family of modules: those of one object store, or for documents on the disk.
type moduleKind struct {
	label   string // what messages call the store
	scheme  string // of the store's URLs; "" for files
	bucket  string // the name of the option that names the bucket
	block   string // the name of the option that names a block of credentials
	slug    string // the type of that block
	needed  bool   // the block must be named
	upload  bool   // or else execute
	exactly bool   // errors have their own text in front, as a program of S3 prints them
}

// modules are all that there are, under the names that Prefect's work pools use for them.
func modules() map[string]*moduleKind {
	known := map[string]*moduleKind{}
	for name, kind := range map[string]moduleKind{
		"prefect_aws":   {label: "S3", scheme: "s3", bucket: "--bucket", block: "--aws-credentials-block-name", slug: "aws-credentials", exactly: true},
		"prefect_gcp":   {label: "GCS", scheme: "gs", bucket: "--bucket", block: "--gcp-credentials-block-name", slug: "gcp-credentials"},
		"prefect_azure": {label: "Azure Blob Storage", scheme: "azblob", bucket: "--container", block: "--azure-blob-storage-credentials-block-name", slug: "azure-blob-storage-credentials", needed: true},
	} {
		for _, path := range []string{name, name + ".experimental"} {
			execute, upload := kind, kind
			upload.upload = true
			known[path+".bundles.execute"], known[path+".bundles.upload"] = &execute, &upload
		}
	}
	for _, name := range []string{"prefect.bundles.execute", "prefect._experimental.bundles.execute"} {
		known[name] = &moduleKind{label: "file"}
	}
	return known
}

// Modules returns the names of all modules, sorted.
func Modules() []string {
	var names []string
	for name := range modules() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ModuleUsageError: the module does not exist, or its options cannot be meant.
type ModuleUsageError struct {
	Reason string
	// Hint is what the module itself says then, on its standard output, before it exits with
	// code 1; "" for a module that exits with code 2.
	Hint string
}

func (e *ModuleUsageError) Error() string { return e.Reason }

func moduleUsage(format string, args ...any) error {
	return &ModuleUsageError{Reason: fmt.Sprintf(format, args...)}
}

// ParseModule reads what stands behind "-m": the module's name, then its options and, for an
// upload, the file, in any order. Besides Prefect's options, --digest of an execution says what
// the document must hash to.
func ParseModule(args []string) (*Module, error) {
	if len(args) == 0 {
		return nil, moduleUsage("-m needs the name of a module; there are %s", strings.Join(Modules(), ", "))
	}
	m := &Module{Name: args[0], kind: modules()[args[0]]}
	if m.kind == nil {
		return nil, moduleUsage("there is no module %q; there are %s", args[0], strings.Join(Modules(), ", "))
	}
	err := m.parse(args[1:])
	if usage, ok := errors.AsType[*ModuleUsageError](err); ok && m.kind.scheme == "" {
		usage.Hint = "Please provide a key representing a path to a bundle"
	}
	return m, err
}

func (m *Module) parse(args []string) error {
	options := map[string]*string{"--key": &m.key}
	required := []string{"--key"}
	digest := ""
	if k := m.kind; k.scheme != "" {
		options[k.bucket], options[k.block] = &m.bucket, &m.block
		if required = append(required, k.bucket); k.needed {
			required = append(required, k.block)
		}
	}
	if !m.kind.upload {
		options["--digest"] = &digest
	}
	var rest []string
	given := map[string]bool{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			rest = append(rest, args...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(arg, "=")
		into := options[name]
		if into == nil {
			return moduleUsage("no such option: %s", name)
		}
		if !hasValue {
			if len(args) == 0 {
				return moduleUsage("option %q requires an argument", name)
			}
			value, args = args[0], args[1:]
		}
		*into, given[name] = value, true
	}
	for _, name := range required {
		if !given[name] {
			return moduleUsage("missing option %q", name)
		}
	}
	if digest != "" {
		var err error
		if m.digest, err = bundle.ParseDigest(digest); err != nil {
			return moduleUsage("option \"--digest\": %v", err)
		}
	}
	return m.operands(rest)
}

func (m *Module) operands(rest []string) error {
	switch {
	case m.kind.upload && len(rest) == 0:
		return moduleUsage(`missing argument "LOCAL_FILEPATH"`)
	case m.kind.upload:
		m.file, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return moduleUsage("got unexpected extra argument (%s)", rest[0])
	}
	return nil
}

// ModuleOptions are the options of [Module.Run]; nil is the default.
type ModuleOptions struct {
	// Openers open object stores; see [storage.OpenOptions].
	Openers map[string]storage.Opener
	// Warn, if not nil, is told what does not keep the module from going on.
	Warn func(text string)
}

// Run does what the module does, in the current directory, and returns the exit code. The error
// has the text that the module prints.
func (m *Module) Run(ctx context.Context, opts *ModuleOptions) (exitCode int, err error) {
	if opts == nil {
		opts = &ModuleOptions{}
	}
	if m.kind.upload {
		err = m.runUpload(ctx, opts)
	} else {
		exitCode, err = m.runExecute(ctx, opts)
	}
	if err != nil {
		return 1, err
	}
	return exitCode, nil
}

// open says where the bucket is and how it is opened; read reads the block of credentials.
func (m *Module) open(ctx context.Context, opts *ModuleOptions, read readBlock) (address string, open *storage.OpenOptions, err error) {
	if !bucketName.MatchString(m.bucket) {
		return "", nil, &pythonError{"ValueError", fmt.Sprintf("Invalid bucket name %q", m.bucket), nil}
	}
	open = stores(&storage.OpenOptions{Openers: opts.Openers})
	if m.block != "" {
		if open.Credentials, err = credentialsIn(ctx, read, m.kind.slug, m.block); err != nil {
			return "", nil, &pythonError{"ValueError", err.Error(), err}
		}
	}
	return (&url.URL{Scheme: m.kind.scheme, Host: m.bucket}).String(), open, nil
}

// bucketName is a name that any of the stores may have, and that is whole in a URL.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9$][A-Za-z0-9._-]*$`)

func (m *Module) runUpload(ctx context.Context, opts *ModuleOptions) error {
	if _, err := os.Stat(m.file); err != nil {
		return m.failed(&pythonError{"ValueError", "Bundle file not found: " + filepath.Clean(m.file), err})
	}
	key := m.key
	if key == "" {
		key = filepath.Base(m.file)
	}
	var read readBlock
	if m.block != "" {
		server, err := executor.Discover(opts.Warn)
		if err != nil {
			return m.failed(&pythonError{"ValueError", err.Error(), err})
		}
		defer server.Close()
		read = blocksOf(server)
	}
	address, open, err := m.open(ctx, opts, read)
	if err != nil {
		return m.failed(err)
	}
	if _, err := Upload(ctx, UploadStep{URL: address, Key: key, File: m.file, Storage: open}); err != nil {
		return m.failed(raised(err, "Failed to upload bundle to %s", m.kind.label))
	}
	return nil
}

func (m *Module) runExecute(ctx context.Context, opts *ModuleOptions) (int, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, execute.PassedOn()...)
	defer signal.Stop(signals)
	how := &execute.Options{Signals: signals, Warn: opts.Warn}
	p, err := executor.Attach(context.WithoutCancel(ctx), openEmbedded, opts.Warn)
	if err != nil {
		return 1, m.failed(err)
	}
	defer p.Close()
	var address, key string
	if m.kind.scheme == "" {
		// The document lies in a folder, which is a store.
		if address, err = storage.FolderURL(filepath.Dir(m.key)); err != nil {
			return 1, m.failed(err)
		}
		key = filepath.Base(m.key)
	} else {
		if address, how.Storage, err = m.open(p.Context(), opts, blocksOf(p.Server())); err != nil {
			return 1, m.failed(err)
		}
		key = m.key
	}
	code, err := p.RunForPrefect(address, key, m.digest, how)
	if err != nil {
		return code, m.failed(m.phase(err))
	}
	return code, nil
}

// phase says what failed in the words of the module.
func (m *Module) phase(err error) error {
	p, ok := errors.AsType[*execute.PhaseError](err)
	if !ok {
		return err
	}
	missing := errors.Is(err, storage.ErrNotFound)
	switch {
	case p.Phase == execute.PhaseExtract:
		err = raised(err, "Failed to extract included files")
	case m.kind.scheme == "" && missing && p.Phase == execute.PhaseDocument:
		return &pythonError{"FileNotFoundError", fmt.Sprintf("[Errno 2] No such file or directory: '%s'", m.key), err}
	case m.kind.scheme == "" && missing && p.Phase == execute.PhaseSidecar:
		return raised(err, "Bundle declares included files, but no archive was found in '%s'", filepath.Dir(m.key))
	case m.kind.scheme == "":
	case p.Phase == execute.PhaseDocument && m.kind.exactly:
		err = raised(err, "Failed to download bundle from %s", m.kind.label)
	case p.Phase == execute.PhaseSidecar && m.kind.exactly:
		err = raised(err, "Failed to download included files: Failed to download bundle from %s", m.kind.label)
	}
	if m.kind.scheme != "" && !m.kind.exactly { // these give every error the same name
		err = raised(err, "Failed to download bundle from %s", m.kind.label)
	}
	return err
}

// pythonError is an error with the exception that Prefect's module raises, and with its text.
type pythonError struct {
	exception, text string
	err             error
}

func (e *pythonError) Error() string { return e.text }
func (e *pythonError) Unwrap() error { return e.err }

// raised puts what the module says before an error's text.
func raised(err error, format string, args ...any) error {
	return &pythonError{"RuntimeError", fmt.Sprintf(format, args...) + ": " + err.Error(), err}
}

// failed puts the error in the form in which the module prints it.
func (m *Module) failed(err error) error {
	exception := "RuntimeError"
	if e, ok := errors.AsType[*pythonError](err); ok {
		exception = e.exception
	}
	text := exception + ": " + err.Error()
	switch {
	case m.kind.exactly && m.kind.upload:
		text = fmt.Sprintf("Failed to upload bundle to %s (%s): %v", m.kind.label, exception, err)
	case m.kind.exactly:
		text = fmt.Sprintf("Bundle execution failed (%s): %v", exception, err)
	}
	return &pythonError{exception, text, err}
}
