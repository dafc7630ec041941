package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/google/uuid"

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

// blockDocument is one as the server writes it.
type blockDocument struct {
	ID         string
	Name       string
	Type       struct{ Slug string } `json:"block_type"`
	Data       BlockData
	References map[string]struct {
		Document struct{ ID string } `json:"block_document"`
	} `json:"block_document_references"`
}

func (d *blockDocument) public() *Block {
	return &Block{ID: d.ID, Name: d.Name, Type: d.Type.Slug, Data: d.Data}
}

// BlockDocument returns the block of that type with the name, with its secrets, or
// orchestrator.ErrNotFound.
func (c *Client) BlockDocument(ctx context.Context, typeSlug, name string) (*Block, error) {
	document, err := c.blockDocument(ctx, typeSlug, name)
	if err != nil {
		return nil, err
	}
	return document.public(), nil
}

func (c *Client) blockDocument(ctx context.Context, typeSlug, name string) (*blockDocument, error) {
	for _, part := range []string{typeSlug, name} {
		if part == "" || isDots(part) { // no name of a block, but a path of its own
			return nil, fmt.Errorf("prefect: block %q of type %q: %w", name, typeSlug, errNoBlock)
		}
	}
	var document blockDocument
	path := "/block_types/slug/" + url.PathEscape(typeSlug) + "/block_documents/name/" + url.PathEscape(name) + "?include_secrets=true"
	if err := c.call(ctx, http.MethodGet, path, nil, &document); err != nil {
		return nil, err
	}
	return &document, nil
}

// BlockDocumentByID returns the block with that id, with its secrets, or orchestrator.ErrNotFound.
func (c *Client) BlockDocumentByID(ctx context.Context, id string) (*Block, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("prefect: block with the id %q: %w", id, errNoBlock)
	}
	var document blockDocument
	if err := c.call(ctx, http.MethodGet, "/block_documents/"+parsed.String()+"?include_secrets=true", nil, &document); err != nil {
		return nil, err
	}
	return document.public(), nil
}

// errNoBlock is the orchestrator.ErrNotFound of what cannot be there.
var errNoBlock error = noBlock{}

type noBlock struct{}

func (noBlock) Error() string { return "there is none" }

func (noBlock) Is(target error) bool { return target == orchestrator.ErrNotFound }

// CreateOrUpdateBlock sees to it that there is a block of that type with that name and the data,
// and returns its id. What an existing one has stays if data does not name it, or has nothing
// there: null or an empty object. A field that is another block is {"$ref": {"block_document_id":
// …}}. It is orchestrator.ErrNotFound when the server does not know the type.
func (c *Client) CreateOrUpdateBlock(ctx context.Context, typeSlug, name string, data map[string]any) (id string, err error) {
	existing, err := c.blockDocument(ctx, typeSlug, name)
	if errors.Is(err, orchestrator.ErrNotFound) {
		id, err = c.createBlock(ctx, typeSlug, name, data)
		refused, ok := errors.AsType[*StatusError](err)
		if !ok || refused.Status != http.StatusConflict {
			return id, err
		}
		existing, err = c.blockDocument(ctx, typeSlug, name) // somebody was quicker
	}
	if err != nil {
		return "", err
	}
	update := map[string]any{}
	// What refers to other blocks would be lost if it were not said again.
	for field, reference := range existing.References {
		update[field] = map[string]any{"$ref": map[string]any{"block_document_id": reference.Document.ID}}
	}
	for field, value := range data {
		if object, ok := value.(map[string]any); value != nil && (!ok || len(object) > 0) {
			update[field] = value
		}
	}
	body := map[string]any{"data": update, "merge_existing_data": true}
	return existing.ID, c.call(ctx, http.MethodPatch, "/block_documents/"+url.PathEscape(existing.ID), body, nil)
}

func (c *Client) createBlock(ctx context.Context, typeSlug, name string, data map[string]any) (id string, err error) {
	var blockType, made struct{ ID string }
	if err := c.call(ctx, http.MethodGet, "/block_types/slug/"+url.PathEscape(typeSlug), nil, &blockType); err != nil {
		return "", fmt.Errorf("prefect: block type %q: %w", typeSlug, unprefixed(err))
	}
	var schemas []struct{ ID string }
	body := map[string]any{"block_schemas": map[string]any{"block_type_id": map[string]any{"any_": []string{blockType.ID}}}, "limit": 1}
	if err := c.call(ctx, http.MethodPost, "/block_schemas/filter", body, &schemas); err != nil {
		return "", err
	}
	if len(schemas) == 0 {
		return "", fmt.Errorf("prefect: block type %q has no schema: %w", typeSlug, errNoBlock)
	}
	err = c.call(ctx, http.MethodPost, "/block_documents/", map[string]any{
		"name": name, "block_type_id": blockType.ID, "block_schema_id": schemas[0].ID, "data": data,
	}, &made)
	return made.ID, err
}

// Variable returns the value of a variable; found is false when there is none of that name.
func (c *Client) Variable(ctx context.Context, name string) (value json.RawMessage, found bool, err error) {
	if name == "" || isDots(name) {
		return nil, false, nil
	}
	var variable struct{ Value json.RawMessage }
	err = c.call(ctx, http.MethodGet, "/variables/name/"+url.PathEscape(name), nil, &variable)
	if errors.Is(err, orchestrator.ErrNotFound) {
		return nil, false, nil
	}
	if err == nil && variable.Value == nil {
		variable.Value = json.RawMessage("null")
	}
	return variable.Value, err == nil, err
}

// workerTypes are the types of workers that the server knows, by the collections that they come in.
type workerTypes map[string]map[string]struct {
	Template json.RawMessage `json:"default_base_job_configuration"`
}

func (c *Client) workerTypes(ctx context.Context) (known workerTypes, err error) {
	err = c.call(ctx, http.MethodGet, "/collections/views/aggregate-worker-metadata", nil, &known)
	if errors.Is(err, orchestrator.ErrNotFound) { // as on Prefect Cloud
		err = c.call(ctx, http.MethodGet, "/collections/work_pool_types", nil, &known)
	}
	return known, err
}

// WorkerTypes returns the types of work pools that the server has base job templates for, in
// order.
func (c *Client) WorkerTypes(ctx context.Context) ([]string, error) {
	collections, err := c.workerTypes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, collection := range collections {
		for name, of := range collection {
			if isObject(of.Template) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// BaseJobTemplate returns the base job template that the server has for work pools of the type;
// found is false when it has none. Prefect's own copies lag behind its workers.
func (c *Client) BaseJobTemplate(ctx context.Context, workerType string) (template json.RawMessage, found bool, err error) {
	collections, err := c.workerTypes(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, name := range slices.Sorted(maps.Keys(collections)) {
		if of, ok := collections[name][workerType]; ok && isObject(of.Template) {
			return of.Template, true, nil
		}
	}
	return nil, false, nil
}
