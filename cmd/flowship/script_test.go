package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// The commands that scripts have besides testscript's own.

// scriptCondition says whether a script may count on something.
func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return isRoot(), nil
	case "s3":
		return started.Has("s3", "FLOWSHIP_TEST_S3")
	case "prefect":
		return started.Has("prefect", "FLOWSHIP_TEST_PREFECT_API")
	case "docker":
		return started.Has("docker", "FLOWSHIP_TEST_DOCKER")
	case "image":
		return started.Has("image", "FLOWSHIP_TEST_IMAGE")
	case "kubernetes":
		return started.Has("kubernetes", "FLOWSHIP_TEST_KUBECONFIG")
	case "secured":
		return started.Has("prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED")
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// cmdShare keeps tests of other packages from having the cluster alone, whose server they restart:
// share kubernetes.
func cmdShare(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "kubernetes" {
		ts.Fatalf("usage: share kubernetes")
	}
	release, err := started.Take(os.Getenv("FLOWSHIP_TEST_KUBECONFIG"), false)
	ts.Check(err)
	ts.Defer(release)
}

// cmdExits runs a command, which must end with the given code: exits 3 flowship bundle verify x.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdBytes writes a file whose name and content are Go string literals, for what a script
// cannot hold: bytes 'a\nb.txt' '\xff'.
func cmdBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bytes NAME CONTENT")
	}
	name, content := unquoted(ts, args[0]), unquoted(ts, args[1])
	path := ts.MkAbs(name)
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o777))
	ts.Check(os.WriteFile(path, []byte(content), 0o666))
}

func unquoted(ts *testscript.TestScript, s string) string {
	text, err := strconv.Unquote(`"` + s + `"`)
	ts.Check(err)
	return text
}

// cmdCut drops the last N bytes of a file.
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE N")
	}
	path := matched(ts, args[0])
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()-n))
}

// cmdFlip inverts the lowest bit of the byte at OFFSET, which counts from the end when it is
// negative.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	path := matched(ts, args[0])
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	data, err := os.ReadFile(path)
	ts.Check(err)
	if offset < 0 {
		offset += len(data)
	}
	data[offset] ^= 1
	ts.Check(os.WriteFile(path, data, 0o666))
}

// matched is the one file that a pattern names: scripts do not know digests.
func matched(ts *testscript.TestScript, pattern string) string {
	found, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s matches %q, want one file", pattern, found)
	}
	return found[0]
}

// cmdMtime sets a file's modification time: mtime FILE 1979-12-31.
func cmdMtime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mtime FILE DATE")
	}
	at, err := time.Parse(time.DateOnly, args[1])
	ts.Check(err)
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), at, at))
}

// cmdJSON asserts that a file (or stdout, stderr) is one JSON document, and what stands at a
// path in it: json stdout .files.0.path '"data/a.csv"'. A path that ends in len is the length of
// a list, one that ends in keys the names of an object's members, in order.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: json FILE [PATH VALUE]")
	}
	text := ts.ReadFile(args[0])
	if len(args) == 1 {
		if json.Valid([]byte(text)) == neg {
			ts.Fatalf("%s: valid JSON: %v", args[0], !neg)
		}
		return
	}
	got, err := at(json.RawMessage(text), args[1])
	ts.Check(err)
	want := args[2]
	if same := sameJSON(got, want); same == neg {
		ts.Fatalf("%s%s is %s, compared with %s", args[0], args[1], got, want)
	}
}

// cmdSame asserts that the same stands at a path in two JSON documents.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: same FILE FILE PATH")
	}
	a, err := at(json.RawMessage(ts.ReadFile(args[0])), args[2])
	ts.Check(err)
	b, err := at(json.RawMessage(ts.ReadFile(args[1])), args[2])
	ts.Check(err)
	if !sameJSON(a, b) {
		ts.Fatalf("%s: %s is %s, of %s it is %s", args[2], args[0], a, args[1], b)
	}
}

// cmdSetenv sets a variable to the string that stands at a path in a JSON document.
func cmdSetenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: setenv NAME FILE PATH")
	}
	text, err := at(json.RawMessage(ts.ReadFile(args[1])), args[2])
	ts.Check(err)
	var value string
	ts.Check(json.Unmarshal([]byte(text), &value))
	ts.Setenv(args[0], value)
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

// at returns what stands at a path such as .files.0.path.
func at(doc json.RawMessage, path string) (string, error) {
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		switch name {
		case "len":
			var list []json.RawMessage
			err := json.Unmarshal(doc, &list)
			return strconv.Itoa(len(list)), err
		case "keys":
			return keysOf(doc)
		}
		if i, err := strconv.Atoi(name); err == nil {
			var list []json.RawMessage
			if err := json.Unmarshal(doc, &list); err != nil {
				return "", err
			}
			if i >= len(list) {
				return "", fmt.Errorf("%s: only %d elements", path, len(list))
			}
			doc = list[i]
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(doc, &object); err != nil {
			return "", err
		}
		value, ok := object[name]
		if !ok {
			return "", fmt.Errorf("%s: no member %q", path, name)
		}
		doc = value
	}
	return string(doc), nil
}

func keysOf(doc json.RawMessage) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	if _, err := dec.Token(); err != nil {
		return "", err
	}
	var keys []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return "", err
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(keys)
	return string(text), err
}
