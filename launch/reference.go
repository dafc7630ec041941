package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// References are what a Prefect server knows and job variables may name. What is not there is an
// error of the caller's, but for variables.
type References interface {
	// Block returns the fields of the block of that type with that name, secrets included, as a
	// JSON object in which blocks that it refers to stand in full.
	Block(ctx context.Context, slug, name string) (json.RawMessage, error)
	// BlockByID returns the same of the block with that id.
	BlockByID(ctx context.Context, id string) (json.RawMessage, error)
	// Variable returns a variable's value; found is false when there is none of that name.
	Variable(ctx context.Context, name string) (value json.RawMessage, found bool, err error)
}

// resolveReferences puts what the server knows into a configuration, or says what it would have to
// know when there is none.
func resolveReferences(ctx context.Context, configuration map[string]any, refs References) error {
	r := &referrer{refs: refs, known: map[string]any{}}
	for _, name := range slices.Sorted(maps.Keys(configuration)) {
		if refs == nil {
			if what := unknowable(configuration[name]); what != "" {
				return &VariableError{Name: name, Reason: what + " needs a Prefect server"}
			}
			continue
		}
		v, err := r.blocks(ctx, configuration[name])
		if err == nil {
			v, err = r.variables(ctx, v)
		}
		if reason, ok := errors.AsType[unresolvable](err); ok {
			return &VariableError{Name: name, Reason: string(reason)}
		}
		if err != nil {
			return fmt.Errorf("job variable %q: %w", name, err)
		}
		configuration[name] = v
	}
	return nil
}

// unresolvable is an error of who wrote a reference. It shows nothing of what was referred to.
type unresolvable string

func (u unresolvable) Error() string { return string(u) }

// referrer asks for each thing once.
type referrer struct {
	refs  References
	known map[string]any // by what it was asked with
}

// missing is the value of what is not there.
type missing struct{}

// known is an answer about something that is there, whatever it is.
func known(text json.RawMessage, err error) (json.RawMessage, error) {
	if text == nil {
		text = json.RawMessage{}
	}
	return text, err
}

// ask returns a value, or missing if fetch returns neither a text nor an error.
func (r *referrer) ask(key string, fetch func() (json.RawMessage, error)) (any, error) {
	if v, ok := r.known[key]; ok {
		return v, nil
	}
	text, err := fetch()
	if err != nil {
		return nil, err
	}
	var v any = missing{}
	if text != nil {
		if v, err = decode(text); err != nil {
			return nil, errors.New("what the server says is not JSON")
		}
	}
	r.known[key] = v
	return v, nil
}

// blocks returns the value with blocks in place of what refers to them.
func (r *referrer) blocks(ctx context.Context, v any) (any, error) {
	if object, ok := v.(map[string]any); ok {
		if ref, ok := object["$ref"].(map[string]any); ok && ref["block_document_id"] != nil && ref["block_document_id"] != "" {
			id, ok := ref["block_document_id"].(string)
			if !ok {
				return nil, unresolvable("the id of a block is not a text")
			}
			return r.blockByID(ctx, id)
		}
	}
	return r.within(ctx, v, r.blocks, blockPrefix, r.block)
}

// variables returns the value with the values of variables in place of their names.
func (r *referrer) variables(ctx context.Context, v any) (any, error) {
	return r.within(ctx, v, r.variables, variablePrefix, r.variable)
}

// within goes through what a value consists of, and gets in its texts the values for placeholders
// that begin with the prefix.
func (r *referrer) within(ctx context.Context, v any, again func(context.Context, any) (any, error), prefix string,
	get func(ctx context.Context, name string) (any, error),
) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return replace(ctx, v, prefix, get)
	case []any:
		for i := range v {
			if v[i], err = again(ctx, v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if v[key], err = again(ctx, v[key]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func replace(ctx context.Context, text, prefix string, get func(ctx context.Context, name string) (any, error)) (any, error) {
	var replaced strings.Builder
	end := 0
	for _, m := range placeholderIn(text) {
		name := text[m[2]:m[3]]
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		value, err := get(ctx, strings.ReplaceAll(name, prefix, ""))
		if err != nil {
			return nil, err
		}
		if value == (missing{}) {
			value = ""
		}
		if m[0] == 0 && m[1] == len(text) {
			return clone(value), nil
		}
		if prefix == blockPrefix {
			switch value.(type) {
			case map[string]any, []any:
				return nil, unresolvable(name + " is an object or a list, which cannot stand within a text: name a part of it")
			}
		}
		replaced.WriteString(text[end:m[0]])
		replaced.WriteString(PythonText(value))
		end = m[1]
	}
	replaced.WriteString(text[end:])
	return replaced.String(), nil
}

func (r *referrer) blockByID(ctx context.Context, id string) (any, error) {
	data, err := r.ask("id "+id, func() (json.RawMessage, error) { return known(r.refs.BlockByID(ctx, id)) })
	if err != nil {
		return nil, fmt.Errorf("block with the id %q: %w", id, err)
	}
	return clone(data), nil
}

// block returns what is meant by TYPE.NAME or TYPE.NAME.PATH.
func (r *referrer) block(ctx context.Context, name string) (any, error) {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) < 2 {
		return nil, unresolvable(blockPrefix + name + " names no block: it has to be " + blockPrefix + "TYPE.NAME")
	}
	value, err := r.ask("block "+parts[0]+"."+parts[1], func() (json.RawMessage, error) {
		return known(r.refs.Block(ctx, parts[0], parts[1]))
	})
	if err != nil {
		return nil, fmt.Errorf("block %q of type %q: %w", parts[1], parts[0], err)
	}
	path := ""
	if len(parts) == 3 {
		path = parts[2]
	}
	fields, _ := value.(map[string]any)
	if inner, ok := fields["value"]; ok && len(fields) == 1 && path != "value" && !strings.HasPrefix(path, "value.") && !strings.HasPrefix(path, "value[") {
		value = inner
	}
	if len(parts) < 3 {
		return value, nil
	}
	part, ok := lookup(value, path)
	if !ok {
		return nil, unresolvable(fmt.Sprintf("block %q of type %q has nothing at %q", parts[1], parts[0], path))
	}
	return part, nil
}

func (r *referrer) variable(ctx context.Context, name string) (any, error) {
	value, err := r.ask("variable "+name, func() (json.RawMessage, error) {
		value, found, err := r.refs.Variable(ctx, name)
		if err != nil || !found {
			return nil, err
		}
		return known(value, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("variable %q: %w", name, err)
	}
	return value, nil
}
