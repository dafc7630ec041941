package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// backend is where flow runs live.
type backend interface {
	orchestrator.Creator
	orchestrator.StateSetter
	orchestrator.Reader
	orchestrator.StateReader
	orchestrator.Finder
	orchestrator.Deleter
	orchestrator.Leaser
	orchestrator.LossEnder
	orchestrator.Resumer
	orchestrator.Launched
	orchestrator.Queue
	orchestrator.LogWriter
	orchestrator.LogReader
	orchestrator.WorkPoolReader
	orchestrator.WorkPoolWriter
	orchestrator.WorkerRegistry
	io.Closer
}

// PrefectSettings returns the settings of the Prefect server that the environment names, or nil where
// it names none: then the embedded default serves. A process that was started for a flow run of the
// embedded default belongs to it in any case.
func PrefectSettings() (*prefect.Settings, error) {
	if os.Getenv(envState) != "" {
		return nil, nil
	}
	settings, err := prefect.Discover(nil)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if settings.APIURL == "" {
		return nil, nil
	}
	return settings, nil
}

// openBackend opens the API that the settings name or, without any, the file of the embedded
// default.
func openBackend(ctx context.Context, settings *prefect.Settings, path string, warn func(string)) (backend, error) {
	if settings == nil {
		return local.Open(ctx, path, nil)
	}
	api, err := prefect.Open(settings)
	if err != nil {
		return nil, err
	}
	api.Tell(warn)
	return api, nil
}

// references resolves what job variables say about the server's blocks and variables; nil is
// nothing.
func (c *Client) references() func(ctx context.Context) (launch.References, error) {
	if !c.onPrefect() {
		return nil
	}
	return func(ctx context.Context) (launch.References, error) {
		api, err := c.api(ctx)
		if err != nil {
			return nil, err
		}
		return references{api}, nil
	}
}

// references are what a Prefect server knows.
type references struct{ *prefect.Client }

func (r references) Block(ctx context.Context, slug, name string) (json.RawMessage, error) {
	block, err := r.BlockDocument(ctx, slug, name)
	if errors.Is(err, orchestrator.ErrNotFound) {
		err = ErrNoBlock // who asks names it
	}
	return blockFields(block, err)
}

func (r references) BlockByID(ctx context.Context, id string) (json.RawMessage, error) {
	return blockFields(r.BlockDocumentByID(ctx, id))
}

func blockFields(block *prefect.Block, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return json.RawMessage(block.Data), nil
}

// api returns the client of the Prefect server.
func (c *Client) api(ctx context.Context) (*prefect.Client, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	api, ok := runs.(*prefect.Client)
	if !ok {
		return nil, fmt.Errorf("submit: %w", prefect.ErrNoAPI)
	}
	return api, nil
}
