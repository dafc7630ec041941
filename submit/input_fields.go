package submit

import (
	"reflect"
	"strings"
)

// inputField is a field of a struct as encoding/json sees it.
type inputField struct {
	typ      reflect.Type
	optional bool // as a parameter
	quoted   bool // in a JSON string
}

// fieldsOf returns the fields by their JSON names. As in encoding/json those of embedded structs
// count as the outer one's unless a field further out has the name; of several equally far in,
// one with a tag counts, else none. What an embedded pointer may lack is optional.
func fieldsOf(t reflect.Type) map[string]inputField {
	fields := map[string]inputField{}
	seen := map[reflect.Type]bool{t: true}
	for level := []embedded{{typ: t}}; len(level) > 0; {
		var deeper []embedded
		found, tagged := map[string][]inputField{}, map[string][]inputField{}
		for _, e := range level {
			for i := range e.typ.NumField() {
				f := e.typ.Field(i)
				name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
				inner := embedded{typ: f.Type, optional: e.optional}
				if f.Type.Kind() == reflect.Pointer {
					inner = embedded{typ: f.Type.Elem(), optional: true}
				}
				switch {
				case f.Tag.Get("json") == "-":
				case f.Anonymous && name == "" && inner.typ.Kind() == reflect.Struct:
					if !seen[inner.typ] {
						deeper = append(deeper, inner)
					}
				case f.IsExported():
					field := inputField{typ: f.Type, optional: inner.optional}
					for option := range strings.SplitSeq(options, ",") {
						field.optional = field.optional || option == "omitempty" || option == "omitzero"
						field.quoted = field.quoted || option == "string"
					}
					if name != "" {
						tagged[name] = append(tagged[name], field)
					} else {
						name = f.Name
					}
					found[name] = append(found[name], field)
				}
			}
		}
		for name, several := range found {
			if _, further := fields[name]; further {
				continue
			}
			if len(tagged[name]) > 0 {
				several = tagged[name]
			}
			if len(several) == 1 {
				fields[name] = several[0]
			}
		}
		for _, e := range deeper { // not before: of one that is there twice, neither counts
			seen[e.typ] = true
		}
		level = deeper
	}
	return fields
}

// embedded is a struct whose fields count as those of another one.
type embedded struct {
	typ      reflect.Type
	optional bool
}
