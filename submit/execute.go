package submit

import (
	"context"
	"fmt"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// Step is what the command line of an executor says.
type Step struct {
	executor.Step
	// Storage is how the stores are opened; nil is the default.
	Storage *storage.OpenOptions
	// Registry fetches bundles from registries; see [execute.Options].
	Registry execute.Registry
	// Grace is how long the command, and then what it left behind, may take to end; 0 means 10
	// seconds.
	Grace time.Duration
}

// Execute is [executor.Run] with all that this package has: the flow runs of the embedded default,
// and credentials for stores from the blocks of a Prefect server.
func Execute(ctx context.Context, step Step) (*execute.Record, error) {
	return executor.Run(ctx, step.Step, &executor.Options{
		Stores: func(server *executor.Server) *storage.OpenOptions {
			if server == nil {
				return stores(step.Storage)
			}
			return withBlocks(step.Storage, blocksOf(server))
		},
		Registry: step.Registry, Embedded: openEmbedded, Grace: step.Grace,
	})
}

// openEmbedded opens the flow runs of the embedded default for an executor.
func openEmbedded(ctx context.Context, state string) (executor.Runs, error) {
	return local.Open(ctx, databasePath(state), nil)
}

// blocksOf reads blocks of the server, if there is one.
func blocksOf(server *executor.Server) readBlock {
	return func(ctx context.Context, slug, name string) (*prefect.Block, error) {
		client, err := server.Connect()
		if err != nil {
			return nil, fmt.Errorf("block %q of type %q: %w", name, slug, err)
		}
		return blockOf(ctx, client, slug, name)
	}
}
