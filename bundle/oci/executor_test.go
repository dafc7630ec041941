package oci_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

func TestExecutors(t *testing.T) {
	amd, arm, beside := program(t, machineAMD64), program(t, machineARM64), t.TempDir()
	besideArm := filepath.Join(beside, "flowship-executor-linux-arm64")
	if err := os.WriteFile(besideArm, []byte(read(t, arm)), 0o700); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(beside, "flowship-executor-linux-s390x")
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	type taken struct{ Path, Origin string }
	for _, test := range []struct {
		name     string
		e        oci.Executors
		platform oci.Platform
		want     taken
		kind     bundle.Kind
	}{
		{"given", oci.Executors{Given: []string{amd, arm}}, arm64, taken{arm, "given"}, ""},
		{"none of those given", oci.Executors{Given: []string{amd}}, arm64, taken{}, bundle.KindRefused},
		{"given, of an unknown architecture", oci.Executors{Given: []string{amd}}, oci.Platform{OS: "linux", Arch: "vax"}, taken{}, bundle.KindRefused},
		{"given, not there", oci.Executors{Given: []string{"nothing"}}, arm64, taken{}, bundle.KindNotFound},
		{"beside", oci.Executors{Beside: beside}, arm64, taken{besideArm, "beside this program"}, ""},
		{"beside, no program", oci.Executors{Beside: beside}, oci.Platform{OS: "linux", Arch: "s390x"}, taken{}, bundle.KindRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got taken
			test.e.Tell = func(_ oci.Platform, path, origin string) { got = taken{path, origin} }
			_, err := test.e.Find(t.Context(), test.platform)
			if diff := cmp.Diff(test.want, got); diff != "" || bundle.KindOf(err) != test.kind || (err == nil) != (test.kind == "") {
				t.Errorf("%s\n%v", diff, err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestNoExecutor(t *testing.T) {
	_, err := (&oci.Executors{Beside: t.TempDir(), Dir: t.TempDir()}).Find(t.Context(), oci.Platform{OS: "linux", Arch: "vax"})
	if !errors.Is(err, oci.ErrNoExecutor) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

// TestBuiltExecutor has go build the executor from this module. It must stay small.
func TestBuiltExecutor(t *testing.T) {
	origin := ""
	e := &oci.Executors{Beside: t.TempDir(), Dir: t.TempDir(), Tell: func(_ oci.Platform, _, o string) { origin = o }}
	path, err := e.Find(t.Context(), oci.HostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	if origin != "built by go" {
		t.Errorf("it is %s", origin)
	}
	if size := len(read(t, path)); size >= 15_000_000 {
		t.Errorf("it has %d bytes, want less than 15 MB: what does it link in?", size)
	}
}
