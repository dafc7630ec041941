package infratest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/flowship/flowship/launch"
)

// files: what a job is given is there before it starts, and what is taken from it is whole.
func (s *suite) files() {
	dir := s.TempDir()
	given, taken, missing := filepath.Join(dir, "given"), filepath.Join(dir, "taken"), filepath.Join(dir, "missing")
	const size = 3 << 20
	content := bytes.Repeat([]byte("0123456\n"), size/8)
	if err := os.WriteFile(given, content, 0o600); err != nil {
		s.Fatal(err)
	}
	job := launch.Job{
		Configuration: s.configure(nil),
		Command:       script(`ls -l /flowship/in/given | cut -c 1-10; cat /flowship/in/given /flowship/in/given >/flowship/out; exit 3`),
		Files:         []launch.File{{Path: "/flowship/in/given", Source: given, Mode: 0o640}},
		Take: []launch.File{
			{Path: "/flowship/out", Source: taken, Mode: 0o600},
			{Path: "/flowship/none", Source: missing},
		},
	}
	if !s.opts.Files {
		for name, j := range map[string]launch.Job{
			"Files": {Configuration: job.Configuration, Command: job.Command, Files: job.Files},
			"Take":  {Configuration: job.Configuration, Command: job.Command, Take: job.Take},
		} {
			if r, err := s.infra.Start(s.ctx, j); err == nil {
				s.wait(r)
				s.Errorf("%s: accepted, and nobody copies them", name)
			}
		}
		return
	}
	var out Output
	job.Stdout = &out
	if exit := s.wait(s.start(job)); exit.Code != 3 || out.String() != "-rw-r-----\n" {
		s.Errorf("exit %+v, mode %q", exit, out.String())
	}
	got, err := os.ReadFile(taken)
	if err != nil {
		s.Fatal(err)
	}
	if !bytes.Equal(got, append(content, content...)) {
		s.Errorf("%d bytes were taken, want %d, or they are others", len(got), 2*size)
	}
	if info, err := os.Stat(taken); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		s.Errorf("the file taken: %v, %v", info, err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		s.Errorf("a file that the job does not have: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		s.Errorf("left beside them: %v, %v", entries, err)
	}
	s.filesRefused(given)
}

// filesRefused: with a file that cannot be put there, nothing starts.
func (s *suite) filesRefused(given string) {
	for _, test := range []struct {
		name string
		file launch.File
		want string
	}{
		{"no such file", launch.File{Path: "/a", Source: filepath.Join(s.TempDir(), "nonesuch")}, "nonesuch"},
		{"a directory", launch.File{Path: "/a", Source: s.TempDir()}, "not a regular file"},
		{"relative", launch.File{Path: "a", Source: given}, "not the absolute path of a file"},
		{"above the root", launch.File{Path: "/../a", Source: given}, "not the absolute path of a file"},
		{"no source", launch.File{Path: "/a"}, "has no name here"},
	} {
		s.Run(test.name, func(t *testing.T) {
			r, err := s.infra.Start(s.ctx, launch.Job{Configuration: s.configure(nil), Command: script("exit 0"), Files: []launch.File{test.file}})
			if err == nil {
				s.wait(r)
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
