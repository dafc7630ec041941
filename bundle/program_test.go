package bundle_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

// A Go flow's program lies beside the document, under the digest of its bytes, and is verified.
func TestProgram(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	path := filepath.Join(source, "program")
	if err := os.WriteFile(path, []byte("an executable"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := bundle.Collect(t.Context(), source, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inv := bundle.Invocation{Runtime: bundle.RuntimeGo, Entrypoint: "dir:train", Program: &bundle.Program{OS: "linux", Arch: "arm64"}}
	built, err := bundle.Build(t.Context(), c, inv, dir, &bundle.BuildOptions{Program: path})
	if err != nil {
		t.Fatal(err)
	}
	program := built.Document.Flowship.Program
	if want := (&bundle.Program{Key: program.Key, OS: "linux", Arch: "arm64"}); !cmp.Equal(want, program) || inv.Program.Key != "" {
		t.Errorf("the program is %v, the caller's %v", program, inv.Program)
	}
	stored := filepath.Join(dir, filepath.FromSlash(program.Key))
	if info, err := os.Stat(stored); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("stored program: %v %v", info, err)
	}
	verify := func() []bundle.Problem {
		b, err := bundle.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.Verify(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Problems
	}
	if diff := cmp.Diff([]bundle.Problem{}, verify()); diff != "" {
		t.Errorf("whole (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(stored, []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if p := verify(); len(p) != 1 || p[0].Kind != bundle.ProblemContent || p[0].Path != program.Key {
		t.Errorf("replaced: %v", p)
	}
	if err := os.Remove(stored); err != nil {
		t.Fatal(err)
	}
	want := []bundle.Problem{{Kind: bundle.ProblemMissing, Path: program.Key, Detail: "the program is not there"}}
	if diff := cmp.Diff(want, verify()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestParseProgramKey(t *testing.T) {
	digits := strings.Repeat("0a", 32)
	d, err := bundle.ParseProgramKey("programs/" + digits)
	if err != nil || bundle.ProgramKey(d) != "programs/"+digits {
		t.Errorf("%v %v", d, err)
	}
	for _, key := range []string{"", digits, "programs/", "programs/x", "programs/sha256:" + digits, "programs/../" + digits, "files/" + digits} {
		if d, err := bundle.ParseProgramKey(key); err == nil {
			t.Errorf("%q is %v", key, d)
		}
	}
}
