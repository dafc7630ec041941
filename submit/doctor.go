package submit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// FindingStatus says how bad a finding is.
type FindingStatus string

// The statuses of findings.
const (
	FindingOK      FindingStatus = "ok"
	FindingWarning FindingStatus = "warning" // some of what flowship does will not work
	FindingFailed  FindingStatus = "failed"  // nothing can be submitted
)

// Finding is what one check found.
type Finding struct {
	Check  string        `json:"check"`
	Status FindingStatus `json:"status"`
	Result string        `json:"result"`
	Do     string        `json:"what_to_do"` // "" when nothing is to be done
}

// ExamineOptions are the options of [Client.Examine]; nil is the default.
type ExamineOptions struct {
	Pool string // whose store is looked at; "" is the default one
	URL  string // of the store to look at in place of the pool's
}

// Examine checks, one after the other, what submitting and running need. It stores a small object
// and deletes it again. Nothing that it reports holds a secret.
func (c *Client) Examine(ctx context.Context, opts *ExamineOptions) []Finding {
	if opts == nil {
		opts = &ExamineOptions{}
	}
	e := &examination{Client: c, url: opts.URL}
	if e.home() && e.backend(ctx) && opts.URL == "" {
		e.workPool(ctx, opts.Pool)
	}
	if e.url != "" {
		e.store(ctx)
	}
	e.python(ctx)
	e.tool(ctx, "uv", "--version", "installs what bundles require; without it, pip does: https://docs.astral.sh/uv")
	e.tool(ctx, "go", "version", "builds flows in Go, which nothing else needs: https://go.dev/dl")
	return e.findings
}

type examination struct {
	*Client
	url         string
	credentials string // name of the credentials block of the pool
	findings    []Finding
}

func (e *examination) add(check string, status FindingStatus, result, do string) {
	e.findings = append(e.findings, Finding{check, status, result, do})
}

func (e *examination) home() bool {
	err := os.MkdirAll(e.state, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(e.state, ".probe-"); err == nil {
			_, err = f.WriteString("x")
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		e.add("home", FindingFailed, err.Error(), "set FLOWSHIP_HOME to a directory that can be written to")
		return false
	}
	e.add("home", FindingOK, e.state, "")
	return true
}

// backend looks at where flow runs live.
func (e *examination) backend(ctx context.Context) bool {
	if e.onPrefect() {
		return e.server(ctx)
	}
	runs, err := e.openRuns(ctx)
	if err == nil {
		_, err = runs.WorkPools(ctx)
	}
	if err != nil {
		e.add("database", FindingFailed, err.Error(), "if the file is damaged, move it away: "+databasePath(e.state))
		return false
	}
	e.add("database", FindingOK, databasePath(e.state), "")
	return true
}

// server asks the Prefect server for its version, and for something that takes a login.
func (e *examination) server(ctx context.Context) bool {
	shown := storage.Redact(e.prefect.APIURL)
	api, err := e.api(ctx)
	version := ""
	if err == nil {
		version, err = api.ServerVersion(ctx)
	}
	if err == nil {
		_, err = api.WorkPools(ctx)
	}
	if err != nil {
		do := "look at PREFECT_API_URL and the active profile, and whether the server runs"
		if errors.Is(err, prefect.ErrUnauthorized) {
			do = "look at PREFECT_API_KEY or PREFECT_API_AUTH_STRING, and at the active profile"
		}
		e.add("server", FindingFailed, err.Error(), do)
		return false
	}
	e.add("server", FindingOK, fmt.Sprintf("%s is Prefect %s", shown, version), "")
	return true
}

func (e *examination) workPool(ctx context.Context, name string) {
	pool, err := e.Client.workPool(ctx, name)
	if err == nil {
		e.url, e.credentials, err = e.storeOf(pool)
	}
	if errors.Is(err, orchestrator.ErrNoWorkPool) && name == "" && e.onPrefect() {
		e.add("work pool", FindingWarning, "none is the default", "name one (--pool), or make one the default: flowship work-pool set-default NAME")
		return
	}
	if err != nil {
		e.add("work pool", FindingFailed, err.Error(), "flowship work-pool ls shows those that there are, work-pool storage configure where they store")
		return
	}
	e.add("work pool", FindingOK, fmt.Sprintf("%s, of type %s", pool.Name, pool.Type), "")
	e.platform(ctx, pool.Type)
}

// platform looks at where the runs of a work pool would be launched from here.
func (e *examination) platform(ctx context.Context, poolType string) {
	infra, err := e.infrastructure(poolType)
	if err != nil {
		e.add(poolType, FindingWarning, err.Error(), "leave its runs to Prefect's own workers: flowship submit-to-work-pool")
		return
	}
	said, err := infra.Examine(ctx)
	switch {
	case err != nil:
		e.add(poolType, FindingWarning, err.Error(), "run and submit need it; submit-to-work-pool leaves runs to a worker that has it")
	case said != "":
		e.add(poolType, FindingOK, said, "")
	}
}

// store puts an object, reads it back and deletes it.
func (e *examination) store(ctx context.Context) {
	shown := storage.Redact(e.url)
	b, err := e.openStore(ctx, e.url)
	if err != nil {
		e.add("store", FindingFailed, err.Error(), "look at the URL; a bucket is s3://bucket, gs://bucket, azblob://container")
		return
	}
	key, text := "probe-"+strings.ToLower(rand.Text()), []byte(rand.Text())
	before := time.Now()
	_, err = b.Put(ctx, key, bytes.NewReader(text), storage.PutOptions{Size: int64(len(text)), SHA256: sha256.Sum256(text)})
	now := before.Add(time.Since(before) / 2)
	if err != nil {
		e.add("store", FindingFailed, err.Error(), whatToDo(err, "allow writing to it"))
		e.ambient(err)
		return
	}
	got, readErr := b.ReadAll(ctx, key, int64(len(text)))
	if readErr == nil && !bytes.Equal(got, text) {
		readErr = fmt.Errorf("%q: what was stored is not what is read", key)
	}
	object, statErr := b.Stat(ctx, key)
	deleteErr := b.Delete(context.WithoutCancel(ctx), key)
	switch err := cmp.Or(readErr, statErr); {
	case err != nil:
		e.add("store", FindingFailed, err.Error(), whatToDo(err, "allow reading from it"))
	case deleteErr != nil:
		e.add("store", FindingWarning, deleteErr.Error(), "allow deleting, which flow-run delete and storage gc need; the object "+key+" is left")
	default:
		e.add("store", FindingOK, shown+" can be written to and read", "")
	}
	e.ambient(nil)
	if statErr == nil {
		e.clock(now.Sub(object.Modified))
	}
}

func whatToDo(err error, unauthorized string) string {
	switch {
	case errors.Is(err, storage.ErrUnauthorized):
		return "look at the credentials, and at what they allow: " + unauthorized
	case errors.Is(err, storage.ErrNotFound):
		return "make the bucket, or look at its name and region"
	}
	return "look at the network and at the address of the server"
}

// sources are where the credentials of a kind of store may come from: variables, and files below
// the user's home.
var sources = map[string][]string{
	"s3": {
		"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		".aws/credentials", ".aws/config",
	},
	"gs":     {"GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", ".config/gcloud/application_default_credentials.json"},
	"azblob": {"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID", ".azure/azureProfile.json"},
}

// ambient says where the environment has credentials for the store, without what they are. err
// is what the store said.
func (e *examination) ambient(err error) {
	if e.credentials != "" && e.onPrefect() {
		status, do := FindingOK, ""
		if errors.Is(err, storage.ErrUnauthorized) {
			status, do = FindingFailed, "look at what is in the block, and at what it allows"
		}
		e.add("credentials", status, fmt.Sprintf("the block %q of the Prefect server", e.credentials), do)
		return
	}
	scheme, _, _ := strings.Cut(e.url, "://")
	places, ok := sources[scheme]
	if !ok {
		return
	}
	var found []string
	home, _ := os.UserHomeDir()
	for _, place := range places {
		if strings.HasPrefix(place, ".") {
			if _, err := os.Stat(filepath.Join(home, filepath.FromSlash(place))); home != "" && err == nil {
				found = append(found, "~/"+place)
			}
		} else if os.Getenv(place) != "" {
			found = append(found, place)
		}
	}
	result := strings.Join(found, ", ")
	if result == "" {
		result = "none in the environment: those of the machine, if it has any"
	}
	status, do := FindingOK, ""
	switch {
	case errors.Is(err, storage.ErrUnauthorized):
		status, do = FindingFailed, "set "+places[0]+" or another of its kind, or renew what is set"
	case e.credentials != "":
		result += fmt.Sprintf("; the block %q is for Prefect's own workers", e.credentials)
	}
	e.add("credentials", status, result, do)
}

const (
	// Requests with a signature are refused when clocks differ by more than this.
	mostSkew = 15 * time.Minute
	// Ages of objects, and of leases between machines, are off by less.
	littleSkew = 30 * time.Second
)

// clock compares our time with the store's.
func (e *examination) clock(ahead time.Duration) {
	result := fmt.Sprintf("within %s of the store's", max(ahead.Abs().Round(time.Second), time.Second))
	status, do := FindingOK, ""
	if ahead.Abs() > littleSkew {
		direction := "ahead of"
		if ahead < 0 {
			direction = "behind"
		}
		result, do = fmt.Sprintf("%s %s the store's", ahead.Abs().Round(time.Second), direction), "set the clock, and have it synchronised (NTP)"
		if status = FindingWarning; ahead.Abs() > mostSkew {
			status = FindingFailed
		}
	}
	e.add("clock", status, result, do)
}

// Longest time that a program may take to say its version.
const versionTime = 10 * time.Second

// python looks for the interpreter that runs flows in Python.
func (e *examination) python(ctx context.Context) {
	names, missing := []string{"python3", "python"}, FindingWarning
	if named := os.Getenv(execute.EnvPython); named != "" {
		names, missing = []string{named}, FindingFailed
	}
	var why error
	for _, name := range names {
		version, err := ask(ctx, name, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])")
		if err != nil {
			why = cmp.Or(why, err)
			continue
		}
		var major, minor int
		if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < 3 || major == 3 && minor < 9 {
			e.add("python", missing, fmt.Sprintf("%s is Python %s", name, version), "flows in Python need 3.9 or later: "+execute.EnvPython+"=/path/to/python names another")
			return
		}
		e.add("python", FindingOK, fmt.Sprintf("%s is Python %s", name, version), "")
		return
	}
	e.add("python", missing, why.Error(), "flows in Python need it: install Python 3.9 or later, or name it: "+execute.EnvPython+"=/path/to/python")
}

// tool looks for a program that only some of what flowship does needs.
func (e *examination) tool(ctx context.Context, name, version, purpose string) {
	said, err := ask(ctx, name, version)
	if err != nil {
		e.add(name, FindingWarning, err.Error(), name+" "+purpose)
		return
	}
	e.add(name, FindingOK, said, "")
}

// ask returns the first line that a program prints.
func ask(ctx context.Context, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%q is not in PATH", name)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return "", fmt.Errorf("%q does not run: %w", path, cmp.Or(err, errors.New("it prints nothing")))
	}
	return line, nil
}
