package prefect

import (
	"context"
	"net/http"
)

// ServerVersion returns the version of Prefect that the server runs.
func (c *Client) ServerVersion(ctx context.Context) (v string, err error) {
	return v, c.call(ctx, http.MethodGet, "/admin/version", nil, &v)
}
