package submit

import (
	"context"
	"fmt"
	"maps"
	"net/url"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// blockParameter, in the query of a store's URL, names the block of a Prefect server that holds
// the credentials for it: "s3://bucket?block=prod". So the URL goes wherever one goes, and holds
// no secret.
const blockParameter = "block"

// credentialsType is the type of the blocks that hold credentials for URLs of the scheme.
func credentialsType(scheme string) string {
	switch scheme {
	case "s3":
		return "aws-credentials"
	case "gs":
		return "gcp-credentials"
	case "azblob":
		return "azure-blob-storage-credentials"
	}
	return ""
}

// readBlock reads a block by its type and its name.
type readBlock func(ctx context.Context, slug, name string) (*prefect.Block, error)

// stores returns the options with what opens object stores: where they say nothing, the drivers of
// gocloud.dev that the program links in.
func stores(opts *storage.OpenOptions) *storage.OpenOptions {
	with := storage.OpenOptions{}
	if opts != nil {
		with = *opts
	}
	if with.Openers == nil {
		with.Openers = gocloud.Openers(nil)
	}
	return &with
}

// withBlocks returns the options with openers that take credentials from the blocks that URLs
// name.
func withBlocks(opts *storage.OpenOptions, read readBlock) *storage.OpenOptions {
	with := stores(opts)
	with.Openers = maps.Clone(with.Openers)
	for _, scheme := range []string{"s3", "gs", "azblob"} {
		open := with.Openers[scheme]
		if open == nil {
			continue
		}
		with.Openers[scheme] = func(ctx context.Context, u *url.URL, credentials *storage.Credentials) (storage.Bucket, error) {
			u, name := withoutBlock(u)
			if name != "" {
				var err error
				if credentials, err = credentialsIn(ctx, read, credentialsType(scheme), name); err != nil {
					return nil, err
				}
			}
			return open(ctx, u, credentials)
		}
	}
	return with
}

func withoutBlock(u *url.URL) (without *url.URL, name string) {
	query := u.Query()
	if name = query.Get(blockParameter); name == "" {
		return u, ""
	}
	query.Del(blockParameter)
	plain := *u
	plain.RawQuery = query.Encode()
	return &plain, name
}

// credentialsIn returns the credentials in a block. A block without any stands for those of the
// environment.
func credentialsIn(ctx context.Context, read readBlock, slug, name string) (*storage.Credentials, error) {
	block, err := read(ctx, slug, name)
	if err != nil {
		return nil, err
	}
	c, err := credentialsOf(slug, block.Data)
	if err != nil {
		return nil, fmt.Errorf("block %q of type %q: %w", name, slug, err)
	}
	return c, nil
}

// block reads a block of this client's server.
func (c *Client) block(ctx context.Context, slug, name string) (*prefect.Block, error) {
	api, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	return blockOf(ctx, api, slug, name)
}
