//go:build unix

package submit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
)

func command(argv ...string) submit.Invocation { return submit.Invocation{Command: argv} }

func runNothing() submit.Invocation { return command("true") }

func TestOpenBundle(t *testing.T) {
	b := newBed(t)
	cmd := runNothing()
	cmd.Dir, cmd.Include = tree(t, map[string]string{"f": "content\n"}), []string{"f"}
	run := b.run(t, cmd)
	stored := filepath.Join(b.home, "store")
	for name, ref := range map[string]string{
		"flow run":   run.ID,
		"upper case": strings.ToUpper(run.ID),
		"URL":        run.Bundle.URL + "/" + run.Bundle.Key,
		"sidecar":    run.Bundle.URL + "/" + *run.Bundle.FilesKey,
		"path":       filepath.Join(stored, run.Bundle.Key),
	} {
		t.Run(name, func(t *testing.T) {
			opened, cleanup, err := b.client.OpenBundle(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			report, err := opened.Verify(t.Context(), nil)
			if err != nil || !report.OK {
				t.Errorf("%+v, %v", report, err)
			}
			m, err := opened.Manifest(t.Context())
			if err != nil || len(m.Entries) != 1 || m.FilesKey() != *run.Bundle.FilesKey {
				t.Errorf("%+v, %v", m, err)
			}
			cleanup()
			b.wantTidy(t)
		})
	}
}

func TestOpenBundleFails(t *testing.T) {
	b := newBed(t)
	run := b.run(t, runNothing())
	document := filepath.Join(b.home, "store", run.Bundle.Key)
	whole, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	whole[len(whole)/2] ^= 1
	if err := os.WriteFile(document, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, ref string
		want      bundle.Kind
	}{
		{"no path", filepath.Join(t.TempDir(), "nothing"), bundle.KindNotFound},
		{"no flow run", uuid.NewString(), bundle.KindNotFound},
		{"no object", run.Bundle.URL + "/nothing", bundle.KindNotFound},
		{"no store", "file:///no/such/store/key", bundle.KindNotFound},
		{"a changed document", run.ID, bundle.KindTampered},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := b.client.OpenBundle(t.Context(), test.ref)
			if bundle.KindOf(err) != test.want {
				t.Errorf("%v is of kind %q, want %q", err, bundle.KindOf(err), test.want)
			}
			b.wantTidy(t)
		})
	}
}
