package bundle

import "testing"

func FuzzReadImports(f *testing.F) {
	f.Add([]byte("import a, b.c as d\nfrom .x import (y,\n z)\n'''\nimport no'''\nfrom . import q\n\\\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, imp := range readImports(text) {
			if imp.line < 1 || imp.module == "" && imp.level == 0 {
				t.Errorf("an import of nothing: %+v", imp)
			}
		}
	})
}

func FuzzOpenTree(f *testing.F) {
	f.Add(append([]byte(cacheMagic), make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, records := range [][]byte{data, nil} {
			if records == nil {
				_, rest, ok := openTree(data, 1)
				if !ok {
					return
				}
				records = rest
			}
			for {
				_, rest, ok := nextRecord(records)
				if !ok {
					break
				}
				records = rest
			}
		}
	})
}

func TestFoldName(t *testing.T) {
	names := map[string]bool{}
	for _, name := range []string{"a/B", "c", "straße"} {
		if err := addName(names, foldName(name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"A/b", "C", "STRAßE", "a"} {
		if err := addName(names, foldName(name)); err == nil {
			t.Errorf("%q meets nothing", name)
		}
	}
}
