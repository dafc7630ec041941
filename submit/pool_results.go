package submit

import (
	"context"
	"fmt"
	"strings"
)

// configureResults has the results of a pool's flows in Python stored in the bucket of its bundles:
// it makes the block that says so on the Prefect server, or brings it up to date, as Prefect's own
// command line does, and returns its id. The credentials that a block has stay when none are named
// and none are taken away.
func (c *Client) configureResults(ctx context.Context, pool string, steps *storageSteps, storage *storageConfiguration, credentialsGiven bool) (*string, error) {
	api, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	data, place := map[string]any{}, storage.option(steps.place)
	blockType, credentialsField := "", "credentials"
	switch steps.kind {
	case StorageS3:
		blockType, data["bucket_name"], data["bucket_folder"] = "s3-bucket", place, "results"
	case StorageGCS:
		blockType, data["bucket"], data["bucket_folder"] = "gcs-bucket", place, "results"
		credentialsField = "gcp_credentials"
	case StorageAzure:
		blockType, data["container_name"] = "azure-blob-storage-container", place
	}
	if name := storage.option(steps.credentials); name != "" {
		slug := credentialsType(steps.scheme)
		block, err := blockOf(ctx, api, slug, name)
		if err != nil {
			return nil, err
		}
		data[credentialsField] = map[string]any{"$ref": map[string]any{"block_document_id": block.ID}}
	} else if credentialsGiven {
		data[credentialsField] = map[string]any{}
	}
	id, err := api.CreateOrUpdateBlock(ctx, blockType, "default-"+strings.ToLower(pool)+"-result-storage", data)
	if err != nil {
		return nil, fmt.Errorf("the result storage of work pool %q: %w", pool, err)
	}
	return &id, nil
}
