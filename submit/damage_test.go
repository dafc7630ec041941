//go:build unix

package submit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Whatever byte of a stored sidecar changes, a run with it is refused before it starts, and the
// next one packs the sidecar again.
func TestTamperedSidecar(t *testing.T) {
	b := newBed(t)
	cmd := submit.Invocation{Dir: tree(t, map[string]string{"f": "content\n"}), Include: []string{"f"}, Command: sh(`touch "$1"`, filepath.Join(t.TempDir(), "ran"))}
	first := b.run(t, cmd)
	path := filepath.Join(b.home, "store", *first.Bundle.FilesKey)
	sidecar, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantHealed := func() {
		t.Helper()
		run := b.run(t, cmd)
		if run.State.Type != orchestrator.TypeCompleted || run.Bundle.ReusedBytes != 0 || run.Bundle.UploadedBytes != first.Bundle.UploadedBytes {
			t.Errorf("%+v", run)
		}
		if now, err := os.ReadFile(path); !bytes.Equal(now, sidecar) {
			t.Errorf("the sidecar is not what it was (%v)", err)
		}
	}
	cmd.Name = first.Name
	marker := cmd.Command[len(cmd.Command)-1]
	for _, i := range []int{0, len(sidecar) / 3, len(sidecar) - 70, len(sidecar) - 1} {
		changed := bytes.Clone(sidecar)
		changed[i] ^= 1
		write(changed)
		if err := os.Remove(marker); err != nil {
			t.Fatal(err)
		}
		run := b.run(t, cmd)
		if run.State.Type != orchestrator.TypeCrashed || run.ExitCode != 3 || !strings.Contains(run.State.Message, "the stored sidecar is not the one") {
			t.Errorf("byte %d: code %d, %+v", i, run.ExitCode, run.State)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Errorf("byte %d: the command was run", i)
		}
		wantHealed()
	}

	write(sidecar[:len(sidecar)-1])
	wantHealed()

	// A client that has not seen the sidecar whole proves it first.
	if err := os.RemoveAll(filepath.Join(b.home, "sidecars")); err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(sidecar)
	changed[len(changed)/3] ^= 1
	write(changed)
	wantHealed()
}
