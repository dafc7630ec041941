package prefect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Block is a block document with its secrets.
type Block struct {
	ID, Name string
	Type     string // the slug of the block's type, such as "aws-credentials"
	Data     BlockData
}

// BlockData are the fields of a block as a JSON object, in which blocks that it refers to stand
// in full. They are not printed.
type BlockData json.RawMessage

// UnmarshalJSON keeps the text.
func (d *BlockData) UnmarshalJSON(text []byte) error {
	*d = append((*d)[:0], text...)
	return nil
}

// Format hides the fields.
func (BlockData) Format(f fmt.State, _ rune) { f.Write([]byte(hidden)) }

// MarshalJSON hides the fields.
func (BlockData) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// BlockDocument returns the block of that type with the name, with its secrets, or
// orchestrator.ErrNotFound.
func (c *Client) BlockDocument(ctx context.Context, typeSlug, name string) (*Block, error) {
	var answer struct {
		ID   string
		Name string
		Type struct{ Slug string } `json:"block_type"`
		Data BlockData
	}
	if name == "" || name == "." || name == ".." { // no name of a block, but a path of its own
		return nil, fmt.Errorf("prefect: block %q: %w", name, orchestrator.ErrNotFound)
	}
	path := "/block_types/slug/" + url.PathEscape(typeSlug) + "/block_documents/name/" + url.PathEscape(name) + "?include_secrets=true"
	if err := c.call(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	return &Block{ID: answer.ID, Name: answer.Name, Type: answer.Type.Slug, Data: answer.Data}, nil
}
