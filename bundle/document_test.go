package bundle_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

func TestDocumentRoundTrip(t *testing.T) {
	c := collect(t, sample.write(t, t.TempDir()), ".")
	m := hash(t, c, nil)
	for _, inv := range []bundle.Invocation{
		{Runtime: bundle.RuntimeExec, Command: []string{"sh", "-c", "echo <é> \"\\"}, Parameters: json.RawMessage(`{"a":[1,null]}`), Include: []string{"."}},
		{Runtime: bundle.RuntimePython, Entrypoint: "flows/é.py:main", Name: "nightly", Dependencies: "a==1\nb", Source: true},
		{Runtime: bundle.RuntimeGo, Entrypoint: "train", Program: &bundle.Program{Key: "programs/x", OS: "linux", Arch: "arm64"}},
		{Runtime: bundle.RuntimeExec, Command: []string{"x"}, FlowRun: json.RawMessage(`{"id":"3f0b","parameters":{"x":1}}`)},
	} {
		for _, with := range []*bundle.Manifest{m, nil} {
			var archive *bundle.Archive
			if with != nil {
				archive = &bundle.Archive{SHA256: m.Digest, Size: 12}
			}
			d, err := bundle.NewDocument(inv, with, archive)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if _, err := d.Write(&text); err != nil {
				t.Fatal(err)
			}
			got, err := bundle.ReadDocument(&text)
			if err != nil {
				t.Fatal(err)
			}
			for _, list := range []*[]string{&d.Flowship.Command, &d.Flowship.Include} {
				*list = append([]string{}, *list...) // [] and null are the same in the document
			}
			var a, b any
			if json.Unmarshal(d.FlowRun, &a) != nil || json.Unmarshal(got.FlowRun, &b) != nil {
				t.Fatal("flow_run is no JSON")
			}
			d.FlowRun, got.FlowRun = nil, nil
			if diff := cmp.Diff(d, got); diff != "" {
				t.Errorf("read back (-written +read):\n%s", diff)
			}
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("flow_run read back (-written +read):\n%s", diff)
			}
		}
	}
}

// document is a valid document's text, with replacements.
func document(t testing.TB, oldnew ...string) string {
	t.Helper()
	b := build(t, collect(t, tree{"a": "a"}.write(t, t.TempDir()), "a"), nil)
	text, err := os.ReadFile(b.DocumentPath)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(text), oldnew[i]) {
			t.Fatalf("%q is not in %s", oldnew[i], text)
		}
	}
	return strings.NewReplacer(oldnew...).Replace(string(text))
}

func TestReadDocumentErrors(t *testing.T) {
	notGzip := base64.StdEncoding.EncodeToString([]byte("not gzip"))
	for name, test := range map[string]struct{ text, want string }{
		"empty":             {"", "EOF"},
		"not JSON":          {"nonsense", "invalid character 'o' in literal null (expecting 'u')"},
		"a list":            {"[]", "not a JSON object"},
		"cut short":         {document(t)[:100], "unexpected EOF"},
		"text after":        {document(t) + "x", "text after the JSON object"},
		"no members":        {"{}", `"function" and "context" must be strings`},
		"function a number": {document(t, `"function": "`, `"function": 1, "x": "`), "json: cannot unmarshal number into Go value of type string"},
		"other spelling":    {document(t, `"function"`, `"Function"`), `"function" and "context" must be strings`},
		"bad base64":        {`{"function": "!", "context": "", "flow_run": {"id": "x"}}`, "function: illegal base64 data at input byte 0"},
		"bad gzip":          {`{"function": "` + notGzip + `", "context": "", "flow_run": {"id": "x"}}`, "function: unexpected EOF"},
		"flow_run a string": {document(t, `"flow_run": {`, `"flow_run": "", "x": {`), "flow_run: not a JSON object"},
		"files_key":         {document(t, `"files_key": "files/`, `"files_key": "../`), `files key "../`},
		"version":           {document(t, `"version": 1`, `"version": 2`), "format version 2; this flowship reads version 1"},
		"runtime":           {document(t, `"exec"`, `"ruby"`), `unknown runtime "ruby"`},
		"no command":        {document(t, `["true"]`, `[]`), "runtime exec without a command"},
		"archive missing":   {document(t, `"archive": {`, `"x": {`), "files_key, archive and files do not agree"},
		"mode":              {document(t, `"0644"`, `"0o644"`), `mode "0o644" is not an octal number`},
		"size":              {document(t, `"size":1,`, `"size":-1,`), `"a": size -1`},
		"path":              {document(t, `"path":"a"`, `"path":"../a"`), `"../a": path traversal`},
		"null":              {document(t, `"dependencies": ""`, `"dependencies": null`), "dependencies: is null"},
		"null in a list":    {document(t, `["true"]`, `[null]`), "command: holds null"},
		"spelled otherwise": {document(t, `"sha256":"`, `"SHA256":"`), "files: \"a\": mode or sha256 is missing"},
		"prefix":            {document(t, `"size":1,"sha256":"`, `"size":1,"sha256":"sha256:`), "has a prefix"},
		"long mode":         {document(t, `"0644"`, `"0000644"`), `mode "0000644" is not an octal number`},
		"no id":             {document(t, `"id":`, `"x":`), "flow_run: no id"},
		"parameters a list": {document(t, `"parameters":{}`, `"parameters":[1]`), "cannot unmarshal array"},
		"no program":        {document(t, `"exec"`, `"go"`), "runtime go without a program"},
		"files an object":   {document(t, `"files": [`, `"files": {}, "x": [`), "files: not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.ReadDocument(strings.NewReader(test.text))
			if bundle.KindOf(err) != bundle.KindTampered || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// TestReadPrefectDocument reads documents as Prefect writes them: without our member, and, by
// older versions, without files_key.
func TestReadPrefectDocument(t *testing.T) {
	whole := document(t)
	own := whole[:strings.Index(whole, `, "flowship"`)] + "}"
	for _, text := range []string{own, own[:strings.Index(own, `, "files_key"`)] + "}", strings.Replace(own, `"files_key": "`, `"files_key": null, "x": "`, 1)} {
		d, err := bundle.ReadDocument(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if d.Flowship != nil || d.Manifest() != nil {
			t.Errorf("a manifest out of nowhere: %+v", d)
		}
	}
}

func FuzzReadDocument(f *testing.F) {
	f.Add(document(f))
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := bundle.ReadDocument(strings.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if _, err := d.Write(&again); err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		if _, err := bundle.ReadDocument(&again); err != nil {
			t.Errorf("written, but cannot be read: %v", err)
		}
	})
}

func FuzzReadLock(f *testing.F) {
	f.Add("# flowship lock 1\nfiles sha256:" + strings.Repeat("1", 64) + "\n0644 1 " + strings.Repeat("1", 64) + " \"a\\n\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := bundle.ReadLock(strings.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := l.Write(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.ReadLock(&again); err != nil {
			t.Errorf("written, but cannot be read: %v", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if err := mkfifo(filepath.Join(dir, "pipe")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "broken.zip"), "no zip", 0o644)
	for name, want := range map[string]bundle.Kind{"missing": bundle.KindNotFound, ".": bundle.KindNotFound, "pipe": bundle.KindRefused, "broken.zip": bundle.KindTampered} {
		b, err := bundle.Open(filepath.Join(dir, name))
		if err == nil {
			_, err = b.Manifest(context.Background())
		}
		if got := bundle.KindOf(err); got != want {
			t.Errorf("%s: kind %q (%v), want %q", name, got, err, want)
		}
	}
}
