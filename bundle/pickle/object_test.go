package pickle

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeObjects(t *testing.T) {
	for _, test := range []struct {
		name   string
		pickle string
		want   any
	}{
		{"plain", "]K\x01a.", []any{int64(1)}},
		{"exception", "\x80\x04\x8c\x08builtins\x8c\x0aValueError\x93\x8c\x01x\x85R.", &Object{Global("builtins.ValueError"), Tuple{"x"}, 29}},
		{"shell command", "cos\nsystem\n(S'true'\ntR.", &Object{Global("os.system"), Tuple{"true"}, 21}},
		{"instance", "(S'true'\nios\nsystem\n.", &Object{Global("os.system"), Tuple{"true"}, 9}},
		{"old object", "(ca\nb\nK\x01o.", &Object{Global("a.b"), Tuple{int64(1)}, 8}},
		{"new object with state", "\x80\x02ca\nb\n)\x81}b.", &Object{Global("a.b"), Tuple{}, 8}},
		{"keyword arguments", "\x80\x04ca\nb\n)}\x92.", &Object{Global("a.b"), Tuple{}, 9}},
		{"items of an object", "ca\nb\n)R(K\x01eK\x02K\x03s.", &Object{Global("a.b"), Tuple{}, 6}},
		{"class that is made", "ca\nb\n)R)R.", &Object{&Object{Global("a.b"), Tuple{}, 6}, Tuple{}, 8}},
		{"global", "(ca\nb\ncbuiltins\nset\nl.", []any{Global("a.b"), Global("builtins.set")}},
		{"known type called oddly", "cbuiltins\nset\nK\x01\x85R.", &Object{Global("builtins.set"), Tuple{int64(1)}, 17}},
		{"known type as it should be", "cbuiltins\nset\n(]K\x01atR.", Set{int64(1): {}}},
		{"what was forgotten", "ca\nb\n)R0N.", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := DecodeObjects([]byte(test.pickle))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeObjectsRefuses(t *testing.T) {
	for _, test := range []struct{ name, pickle, want string }{
		{"call of a value", "K\x01)R.", "pickle: byte 3: calls a plain value"},
		{"call of a list", "])R.", "pickle: byte 2: calls a plain value"},
		{"arguments that are no tuple", "ca\nb\n]R.", "pickle: byte 6: calls something with arguments that are no tuple"},
		{"call of nothing", "(o.", "pickle: byte 1: takes a value that was never put there"},
		{"state of nothing", "}b.", "pickle: byte 1: takes a value that was never put there"},
		{"object as key", "}ca\nb\n)RNs.", "pickle: a key of a dict is of type *pickle.Object"},
		{"object in its own arguments", "](ca\nb\nh\x00tR.", "pickle: byte 7: refers to value 0, which was never kept"},
		{"list that holds an object that holds it", "]q\x00ca\nb\nh\x00\x85Ra.", "pickle: a value contains itself"},
		{"persistent object", "Pfile\n.", "pickle: byte 0: PERSID builds an object, which only Python could"},
		{"extension", "\x80\x02\x82\x01.", `pickle: byte 2: EXT of "extension 1", which only Python could`},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := DecodeObjects([]byte(test.pickle))
			if err == nil {
				t.Fatalf("no error, value %v", v)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzDecodeObjects: what is plain is the same either way, and what is not is no plain value to Decode.
func FuzzDecodeObjects(f *testing.F) {
	for _, s := range recorded {
		f.Add(fromHex(f, s))
	}
	f.Add(Entrypoint("flow.py:main"))
	f.Add([]byte("ca\nb\n)R)\x81(K\x01eK\x02K\x03s}b."))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := DecodeObjects(data)
		plain, plainErr := Decode(data)
		if _, unsafe := errors.AsType[*UnsafeError](plainErr); plainErr == nil && err != nil || plainErr != nil && !unsafe && err == nil {
			t.Fatalf("plain: %v, with objects: %v", plainErr, err)
		}
		if plainErr == nil && writable(plain) {
			if diff := cmp.Diff(plain, objects, compareBig); diff != "" {
				t.Errorf("plain and with objects (-plain +objects):\n%s", diff)
			}
		}
	})
}
