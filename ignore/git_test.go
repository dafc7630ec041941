package ignore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// gitRepository is an empty repository to ask "git check-ignore" in.
func gitRepository(t *testing.T) string {
	t.Helper()
	started.Program(t, "git")
	dir := t.TempDir()
	runGit(t, dir, "", "init", "-q")
	runGit(t, dir, "", "config", "core.ignoreCase", "false")
	return dir
}

func runGit(t *testing.T, dir, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// 1 means that no path is ignored.
	if err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// checkIgnore is git's decision for each path below base: "file:line" with "!" before it for a negated rule, or "".
func checkIgnore(t *testing.T, dir, base string, paths []string) []string {
	t.Helper()
	var stdin strings.Builder
	for _, p := range paths {
		stdin.WriteString(base + p + "\x00")
	}
	out := runGit(t, dir, stdin.String(), "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin")
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(fields) != 4*len(paths) {
		t.Fatalf("git answered %d fields for %d paths: %q", len(fields), len(paths), out)
	}
	var got []string
	for f := range slices.Chunk(fields, 4) {
		decision := ""
		if f[0] != "" {
			decision = f[0] + ":" + f[1]
			if strings.HasPrefix(f[2], "!") {
				decision = "!" + decision
			}
		}
		got = append(got, decision)
	}
	return got
}

func gitDecisions(ig *Ignores, base string, paths []string) []string {
	var got []string
	for _, p := range paths {
		v := ig.GitVerdict(p)
		decision := ""
		if v.Rule != nil {
			name := filepath.ToSlash(filepath.Join(filepath.FromSlash(base+"x"), "..", filepath.FromSlash(v.Rule.Source)))
			decision = strings.ReplaceAll(name, fileName, ".gitignore") + fmt.Sprintf(":%d", v.Rule.Line)
			if v.Rule.Negated {
				decision = "!" + decision
			}
		}
		got = append(got, decision)
	}
	return got
}

func TestGitVerdictAgainstGit(t *testing.T) {
	git := profile{
		name:  "git",
		atoms: []string{"a", "b", "-", "]", "é", `\`, " ", ".", "!", "["},
		globs: []string{"*", "**", "?", "[a-b]", "[!a]", "[[:alpha:]]", "[[:punct:][:space:]]", "[^[:digit:]x-]", "[[:foo:]]", `[a\]b]`, "[a", "[]-a]", "[+-9]", `\*`, `\a`, `\/**`, "**/", "/**/", "[[:a]", `[a-\b]`, "[a-]", "[--9]"},
		tails: []string{"", "/", "/**", "/*", "/**/", " ", `\ `, "\t", "\r", `\  `, `\`, "\x00c", "\n"},
	}
	for i, p := range append(slices.Clone(profiles), git) {
		t.Run(p.name, func(t *testing.T) {
			dir := gitRepository(t)
			r := rand.New(rand.NewPCG(uint64(i), 5))
			for range 60 {
				var files [2]string
				lines := p.rawLines(r)
				files[0] = strings.Join(lines, "\n")
				base := ""
				ig := &Ignores{}
				top := ignoreFile{source: fileName}
				if r.IntN(2) == 0 {
					base = "deep/er/"
					top.prefix, top.source = base, "../../"+fileName
					lines = p.rawLines(r)
					files[1] = strings.Join(lines, "\n")
				}
				if r.IntN(8) == 0 {
					files[0] = "\ufeff" + files[0]
				}
				// Only git's side is asked, so it does not matter whether Prefect takes the rules.
				ig.files = append(ig.files, gitOnly(top, files[0]))
				writeTree(t, dir, map[string]string{".gitignore": files[0], "deep/er/.gitignore": files[1]})
				if base != "" {
					ig.files = append(ig.files, gitOnly(ignoreFile{source: fileName}, files[1]))
				}
				var paths []string
				for _, path := range p.paths(r, lines, 100) {
					if gitTakes(path) {
						paths = append(paths, path)
					}
				}
				if paths == nil {
					continue
				}
				want := checkIgnore(t, dir, base, paths)
				got := gitDecisions(ig, base, paths)
				for i := range paths {
					if want[i] != got[i] {
						t.Fatalf("%q, below %q %q, on %q: %q, git says %q", files[0], base, files[1], paths[i], got[i], want[i])
					}
				}
			}
		})
	}
}

func gitOnly(f ignoreFile, text string) ignoreFile {
	f.git = func() []gitRule { return parseGit(f.source, text) }
	return f
}

// rawLines makes lines whether or not pathspec takes them.
func (p profile) rawLines(r *rand.Rand) []string {
	lines := make([]string, 1+r.IntN(5))
	for i := range lines {
		lines[i] = p.line(r)
	}
	return lines
}

// gitTakes reports whether git takes the path as it is. It normalises others, and refuses those that lead out of the repository.
func gitTakes(path string) bool {
	if strings.Contains(path, "\x00") {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// TestGitDifferences has what people meet where Prefect and git disagree.
func TestGitDifferences(t *testing.T) {
	tests := []struct {
		text, path   string
		git, prefect bool // ignored
	}{
		{"dir/\n!dir/keep.txt", "dir/keep.txt", true, false},
		{"dir/\n!dir/sub/", "dir/sub/x", true, false},
		{"*\n!*.py", "d/a.py", true, false},
		{"node_modules/\n!*.md", "node_modules/README.md", true, false},
		{"!keep.txt\ndir/", "dir/keep.txt", true, false},
		{"a/**/", "a/x", false, true},
		{"foo\t", "foo", false, true},
		{"bar\u00a0", "bar", false, true},
		{`foo\\ `, `foo\`, true, false},
		{"caf?", "café", false, true},
		{"[é]", "é", false, true},
		{"x[!a]y", "x/y", false, true},
		{"a[+-9]b", "a/b", false, true},
		{"[[:alpha:]]x", "ax", true, false},
		{`[a\]b]x`, "ax", true, false},
		{"a/***/b", "a/b", true, false},
		{"a/***/b", "a/x/y/b", true, false},
		{"\ufefffoo", "foo", true, false},
		// These are the same in both.
		{"dir/*\n!dir/keep", "dir/keep", false, false},
		{"*\n!*/\n!*.py", "d/a.py", false, false},
		{"/*\n!/src", "src/a", false, false},
		{"build/\n!src/build/", "src/build/a", false, false},
		{"doc/frotz", "a/doc/frotz", false, false},
		{"frotz/", "frotz", false, false},
		{`\#a`, "#a", true, true},
		{`foo\ `, "foo ", true, true},
		{"{a,b}", "{a,b}", true, true},
		{"**a", "xa", true, true},
		{"*", ".a", true, true},
		{"./foo", "foo", false, false},
	}
	dir := gitRepository(t)
	for _, tt := range tests {
		var ig Ignores
		if err := ig.add(ignoreFile{source: fileName}, []byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		if got := ig.GitVerdict(tt.path).Ignored; got != tt.git {
			t.Errorf("%q on %q: git's verdict: ignored %v", tt.text, tt.path, got)
		}
		if got := ig.Match(tt.path).Ignored; got != tt.prefect {
			t.Errorf("%q on %q: Prefect's verdict: ignored %v", tt.text, tt.path, got)
		}
		writeTree(t, dir, map[string]string{".gitignore": tt.text})
		real := checkIgnore(t, dir, "", []string{tt.path})
		if diff := cmp.Diff(real, gitDecisions(&ig, "", []string{tt.path})); diff != "" {
			t.Errorf("%q on %q (-git +got):\n%s", tt.text, tt.path, diff)
		}
	}
}

func TestGitVerdictWithoutFiles(t *testing.T) {
	if v := new(Ignores).GitVerdict("a"); v != (Verdict{}) {
		t.Errorf("%+v", v)
	}
}
