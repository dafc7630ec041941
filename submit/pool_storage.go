package submit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
)

// StorageType is a kind of place for the bundles of a work pool. As text it is what the
// inspection of a pool's storage calls it.
type StorageType string

// The types of storage.
const (
	StorageLocal StorageType = "Local" // a folder, of embedded work pools only
	StorageS3    StorageType = "S3"
	StorageGCS   StorageType = "GCS"
	StorageAzure StorageType = "Azure Blob Storage"
)

// storageUnknown is what a pool's storage is called that nothing here knows.
const storageUnknown StorageType = "Unknown"

// storageSteps are the modules and options of one type of storage, as Prefect's command line
// stores them on a work pool.
type storageSteps struct {
	kind              StorageType
	scheme            string // of the URLs of its buckets; "" for folders
	mark              string // part of both modules' names
	upload, execution string // modules
	place             string // option: the bucket, container or folder
	credentials       string // option: the name of a credentials block; "" when there is none
	needsCredentials  bool
	requires          string // what uv installs for the modules; "" for none
}

func storageTypes() []storageSteps {
	return []storageSteps{
		{
			kind: StorageS3, scheme: "s3", mark: "prefect_aws", place: "bucket", credentials: "aws_credentials_block_name", requires: "prefect-aws",
			upload: "prefect_aws.experimental.bundles.upload", execution: "prefect_aws.experimental.bundles.execute",
		},
		{
			kind: StorageGCS, scheme: "gs", mark: "prefect_gcp", place: "bucket", credentials: "gcp_credentials_block_name", requires: "prefect-gcp",
			upload: "prefect_gcp.experimental.bundles.upload", execution: "prefect_gcp.experimental.bundles.execute",
		},
		{
			kind: StorageAzure, scheme: "azblob", mark: "prefect_azure", place: "container", credentials: "azure_blob_storage_credentials_block_name", requires: "prefect-azure",
			needsCredentials: true,
			upload:           "prefect_azure.experimental.bundles.upload", execution: "prefect_azure.experimental.bundles.execute",
		},
		{kind: StorageLocal, mark: "flowship.step", place: "path", upload: "flowship.step.upload", execution: "flowship.step.execute"},
	}
}

// storageConfiguration is Prefect's storage_configuration of a work pool.
type storageConfiguration struct {
	Upload    *launch.Step `json:"bundle_upload_step"`
	Execution *launch.Step `json:"bundle_execution_step"`
	Results   *string      `json:"default_result_storage_block_id"`
}

// storageOf reads how the pool's storage is configured; nil when it is not.
func storageOf(pool *orchestrator.WorkPool) (*storageConfiguration, error) {
	if pool.Storage == nil {
		return nil, nil
	}
	s := &storageConfiguration{}
	if err := json.Unmarshal(pool.Storage, s); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	if s.Upload == nil && s.Execution == nil {
		return nil, nil
	}
	return s, nil
}

// steps returns the type of the storage, by the names of the modules, or nil for an unknown one.
func (s *storageConfiguration) steps() *storageSteps {
	for _, t := range storageTypes() {
		for _, step := range []*launch.Step{s.Upload, s.Execution} {
			if step != nil && strings.Contains(step.Module, t.mark) {
				return &t
			}
		}
	}
	return nil
}

// option returns an option of the steps; where they differ, that of the upload.
func (s *storageConfiguration) option(name string) string {
	for _, step := range []*launch.Step{s.Upload, s.Execution} {
		if step == nil {
			continue
		}
		for _, o := range step.Options {
			if o.Name == name && o.Value != "" {
				return o.Value
			}
		}
	}
	return ""
}

// StorageSettings say where the bundles of a work pool are to be stored. What is left out stays
// as it is, where the storage of the pool is of the same type already.
type StorageSettings struct {
	Type StorageType
	// Place is the bucket, the container or the folder.
	Place string
	// Credentials is the name of a credentials block. A pointer to "" takes away the name that
	// is configured; then the environment's credentials are used.
	Credentials *string
	// Launcher stands before the commands of the steps, in place of uv; a side without tokens is
	// left out.
	Launcher *launch.Launcher
	// Reset has nothing kept of what is configured.
	Reset bool
}

// ConfigureStorage has the bundles of the pool stored in the place that the settings name. A
// folder is made if need be; whether there is such a bucket is not looked at.
func (c *Client) ConfigureStorage(ctx context.Context, name string, settings StorageSettings) error {
	pool, err := c.workPool(ctx, name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(storageTypes(), func(t storageSteps) bool { return t.kind == settings.Type })
	if i < 0 {
		return fmt.Errorf("submit: %w", &InvalidError{fmt.Sprintf("unknown type of storage %q", settings.Type)})
	}
	steps := &storageTypes()[i]
	if steps.kind == StorageLocal && c.onPrefect() {
		return fmt.Errorf("submit: work pool %q: %w", name, &InvalidError{"a folder stores the bundles of embedded work pools only: workers of a Prefect server may be elsewhere"})
	}
	if steps.kind == StorageLocal && strings.TrimSpace(settings.Place) != "" {
		if settings.Place, err = makeFolder(settings.Place); err != nil {
			return fmt.Errorf("submit: %w", err)
		}
	}
	before := &storageConfiguration{}
	if !settings.Reset {
		if was, err := storageOf(pool); err != nil {
			return fmt.Errorf("submit: work pool %q: %w", name, err)
		} else if was != nil && was.steps() != nil && was.steps().kind == steps.kind {
			before = was
		}
	}
	after, err := steps.configure(before, &settings)
	if err != nil {
		return fmt.Errorf("submit: work pool %q: %w", name, err)
	}
	if c.onPrefect() {
		if after.Results, err = c.configureResults(ctx, pool.Name, steps, after, settings.Credentials != nil); err != nil {
			return ours(err)
		}
	}
	text, err := json.Marshal(after)
	if err != nil {
		return fmt.Errorf("submit: work pool %q: %w", name, err)
	}
	return c.ChangeWorkPool(ctx, pool.Name, orchestrator.WorkPoolChange{Storage: text})
}

func makeFolder(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// configure returns the configuration with the settings in place of what was before.
func (t *storageSteps) configure(before *storageConfiguration, settings *StorageSettings) (*storageConfiguration, error) {
	place := cmp.Or(settings.Place, before.option(t.place))
	if strings.TrimSpace(place) == "" {
		return nil, &InvalidError{"the " + t.place + " of the storage is missing"}
	}
	if t.kind != StorageLocal {
		if _, err := bucketURL("s3", place, nil); err != nil {
			return nil, err
		}
	}
	options := []launch.StepOption{{Name: t.place, Value: place}}
	credentials := ""
	switch {
	case settings.Credentials != nil:
		credentials = *settings.Credentials
	case t.credentials != "":
		credentials = before.option(t.credentials)
	}
	switch {
	case t.needsCredentials && strings.TrimSpace(credentials) == "":
		return nil, &InvalidError{"the name of the credentials block of the storage is missing"}
	case t.credentials == "" && credentials != "":
		return nil, &InvalidError{fmt.Sprintf("storage of type %q takes no credentials", t.kind)}
	case credentials != "":
		options = append(options, launch.StepOption{Name: t.credentials, Value: credentials})
	}
	upload, execution := before.launcher(before.Upload), before.launcher(before.Execution)
	if l := settings.Launcher; l != nil {
		if l.Upload != nil {
			upload = l.Upload
		}
		if l.Execution != nil {
			execution = l.Execution
		}
	}
	return &storageConfiguration{
		Upload: t.step(t.upload, options, upload), Execution: t.step(t.execution, options, execution), Results: before.Results,
	}, nil
}

func (s *storageConfiguration) launcher(step *launch.Step) []string {
	if step == nil {
		return nil
	}
	return step.Launcher
}

// step has either a launcher or what uv is to install.
func (t *storageSteps) step(module string, options []launch.StepOption, launcher []string) *launch.Step {
	s := &launch.Step{Module: module, Options: options, Launcher: launcher}
	if launcher == nil && t.requires != "" {
		s.Requires = []string{t.requires}
	}
	return s
}

// PoolStorage says where the bundles of a pool are stored, as Prefect's inspection of it does.
type PoolStorage struct {
	Type StorageType `json:"type"`
	// Upload and Execution are the options of the two steps, with what they require or their
	// launcher. JSON objects, their members in their order.
	Upload    json.RawMessage `json:"upload,omitempty"`
	Execution json.RawMessage `json:"execution,omitempty"`
}

// Storage returns how the pool's storage is configured, or nil when it is not: then bundles are
// stored in the state directory.
func (c *Client) Storage(ctx context.Context, name string) (*PoolStorage, error) {
	pool, err := c.workPool(ctx, name)
	if err != nil || pool.Storage == nil {
		return nil, err
	}
	var steps struct {
		Upload    map[string]json.RawMessage `json:"bundle_upload_step"`
		Execution map[string]json.RawMessage `json:"bundle_execution_step"`
	}
	if err := json.Unmarshal(pool.Storage, &steps); err != nil {
		return nil, fmt.Errorf("submit: work pool %q: storage: %w", name, err)
	}
	if steps.Upload == nil && steps.Execution == nil {
		return nil, nil
	}
	// A step is an object with one member, the module, which holds the options.
	s := &PoolStorage{Type: storageUnknown}
	for module, options := range steps.Execution {
		s.Execution, s.Type = options, storageTypeOf(module, s.Type)
	}
	for module, options := range steps.Upload {
		s.Upload, s.Type = options, storageTypeOf(module, s.Type)
	}
	return s, nil
}

func storageTypeOf(module string, otherwise StorageType) StorageType {
	for _, t := range storageTypes() {
		if strings.Contains(module, t.mark) {
			return t.kind
		}
	}
	return otherwise
}

// executionLauncher is what the pool puts in place of the executor's program, or nil.
func executionLauncher(pool *orchestrator.WorkPool) ([]string, error) {
	s, err := storageOf(pool)
	if s == nil || err != nil {
		return nil, err
	}
	return s.launcher(s.Execution), nil
}
