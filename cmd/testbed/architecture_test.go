package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/flowship/flowship"

// rooms says for each folder which others its packages may import, besides those below the same folder. Imports only go this way, so a
// room can be understood with what stands above it in the table. A room covers the folders below it that have no line of their own.
var rooms = map[string][]string{
	"ignore":                               nil,
	"bundle":                               {"ignore", "bundle/pickle"},
	"bundle/pickle":                        nil,
	"bundle/bench":                         {"bundle", "ignore"},
	"bundle/oci":                           {"bundle"},
	"storage":                              nil,
	"launch":                               nil,
	"launch/infratest":                     {"launch"},
	"launch/processinfra":                  {"launch"},
	"launch/dockerinfra":                   {"launch"},
	"launch/kubernetesinfra":               {"launch"},
	"launch/ecsinfra":                      {"launch"},
	"launch/cloudruninfra":                 {"launch"},
	"launch/vertexinfra":                   {"launch"},
	"launch/aciinfra":                      {"launch"},
	"submit/orchestrator":                  nil,
	"submit/orchestrator/orchestratortest": {"submit/orchestrator"},
	"submit/result":                        {"bundle/pickle"},
	"submit/execute":                       {"bundle", "storage", "submit/orchestrator"},
	"submit/worker":                        {"launch", "submit/orchestrator", "submit/execute"},
	"submit":                               {"ignore", "bundle", "bundle/pickle", "storage", "launch", "launch/processinfra", "submit/orchestrator", "submit/result", "submit/execute", "submit/worker"},
	"cmd/flowship":                         {"*"},
	"cmd/flowship-executor":                {"bundle/oci", "submit/execute"},
	"cmd/testbed":                          nil,
}

// folders are the top-level folders of the repository.
var folders = []string{"bundle", "cmd", "ignore", "launch", "storage", "submit", "testdata"}

// clouds are the clients of single platforms, by import path. They are linked into flowship in one place, so that leaving one out is a
// matter of one line; apart from that, only the platform's own driver knows them.
var clouds = []string{
	"gocloud.dev/blob/s3blob", "gocloud.dev/blob/gcsblob", "gocloud.dev/blob/azureblob",
	"github.com/aws/", "cloud.google.com/go", "google.golang.org/api", "github.com/Azure/",
	"github.com/docker/", "github.com/moby/", "k8s.io/",
}

// roomOf is the room with the longest name that contains the package or folder.
func roomOf(path string) string {
	for path != "." {
		if _, ok := rooms[path]; ok {
			return path
		}
		path = filepath.ToSlash(filepath.Dir(path))
	}
	return ""
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// TestArchitecture checks every package of the module on every system for imports against the direction of the table.
func TestArchitecture(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
			cmd.Dir = root(t)
			cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			packages := 0
			for dec := json.NewDecoder(out); ; packages++ {
				var p struct {
					ImportPath string
					Imports    []string
				}
				if err := dec.Decode(&p); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				checkImports(t, p.ImportPath, p.Imports)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if packages < 3 {
				t.Errorf("go list found %d packages", packages)
			}
		})
	}
}

// checkImports looks at direct imports only: when all of them go down the table, so do the indirect ones.
func checkImports(t *testing.T, importer string, imports []string) {
	from := roomOf(strings.TrimPrefix(importer, module+"/"))
	if from == "" {
		t.Errorf("%s is in no room: give it a line in rooms, or a better place", importer)
		return
	}
	for _, path := range imports {
		short, ours := strings.CutPrefix(path, module+"/")
		if !ours {
			continue
		}
		to := roomOf(short)
		if to != from && !slices.Contains(rooms[from], to) && !slices.Contains(rooms[from], "*") {
			t.Errorf("%s imports %s: %s may import %v", importer, path, from, rooms[from])
		}
	}
}

func TestFolders(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(folders, e.Name()) {
			t.Errorf("top-level folder %q; the folders are %v", e.Name(), folders)
		}
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".go") {
			t.Errorf("%s: there is no root package", e.Name())
		}
	}
}

func TestCloudsAreImportedInOnePlace(t *testing.T) {
	top := root(t)
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && path != top && (strings.HasPrefix(e.Name(), ".") || path == filepath.Join(top, "cmd", "testbed", "kubernetes")) {
			return fs.SkipDir // the latter is another module, which nothing of this one can import
		}
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel == "cmd/flowship/drivers.go" || (strings.HasPrefix(rel, "launch/") && strings.Contains(rel, "infra/")) {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			driver := strings.HasPrefix(imported, module+"/launch/") && strings.HasSuffix(imported, "infra") && imported != module+"/launch/processinfra"
			if driver || slices.ContainsFunc(clouds, func(c string) bool { return strings.HasPrefix(imported, c) }) {
				t.Errorf("%s imports %s, which only cmd/flowship/drivers.go may", rel, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMainIsShort(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "cmd", "flowship", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n >= 50 {
		t.Errorf("cmd/flowship/main.go has %d lines; what it does belongs into a command of its own or a package", n)
	}
}
