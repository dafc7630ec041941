package pickle

import (
	"errors"
	"fmt"
)

// plain is a finished value, with what it would take to write it out: how many values, how deep.
type plain struct {
	value  any
	count  int
	height int
}

type state byte

const (
	fresh state = iota
	busy
	done
)

// plainer turns containers into the values that Decode returns, each container once.
type plainer struct {
	most    int // values in all
	objects bool
}

func (p *plainer) value(v any, depth int) (plain, error) {
	switch v := v.(type) {
	case *container:
		return p.container(v, depth)
	case builtin:
		if p.objects {
			return plain{value: Global(v.name), count: 1}, nil
		}
		return plain{}, &UnsafeError{Global: v.name, Op: "GLOBAL", Offset: v.offset}
	}
	return plain{value: v, count: 1}, nil
}

func (p *plainer) container(c *container, depth int) (plain, error) {
	switch {
	case c.state == done:
		return c.plain, nil
	case c.state == busy:
		return plain{}, errors.New("a value contains itself")
	case depth >= maxDepth:
		return plain{}, fmt.Errorf("values are nested deeper than %d", maxDepth)
	}
	c.state = busy
	r := plain{count: 1}
	items := make([]any, len(c.items))
	for i, item := range c.items {
		e, err := p.value(item, depth+1)
		if err != nil {
			return plain{}, err
		}
		items[i] = e.value
		r.count += e.count
		r.height = max(r.height, e.height+1)
		if r.count > p.most {
			return plain{}, fmt.Errorf("values are shared so often that there are more than %d of them", p.most)
		}
		if r.height > maxDepth {
			return plain{}, fmt.Errorf("values are nested deeper than %d", maxDepth)
		}
	}
	var err error
	if c.kind == anObject {
		r.value = &Object{Callee: items[0], Args: items[1].(Tuple), Offset: c.offset}
	} else if r.value, err = assemble(c.kind, items); err != nil {
		return plain{}, err
	}
	c.plain, c.state = r, done
	return r, nil
}

func assemble(k kind, items []any) (any, error) {
	switch k {
	case aTuple:
		return Tuple(items), nil
	case aDict:
		d := make(map[any]any, len(items)/2)
		for i := 0; i < len(items); i += 2 {
			if err := hashable(items[i]); err != nil {
				return nil, fmt.Errorf("a key of a dict is %w", err)
			}
			d[items[i]] = items[i+1]
		}
		return d, nil
	case aSet:
		s := make(Set, len(items))
		for _, e := range items {
			if err := hashable(e); err != nil {
				return nil, fmt.Errorf("an element of a set is %w", err)
			}
			s[e] = struct{}{}
		}
		return s, nil
	}
	return items, nil
}

// hashable says what v is where a Go map cannot have it as a key, or not find it again.
func hashable(v any) error {
	switch v := v.(type) {
	case nil, bool, int64, string:
		return nil
	case float64:
		if v == v {
			return nil
		}
		return errors.New("not a number")
	}
	return fmt.Errorf("of type %T", v)
}
