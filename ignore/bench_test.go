package ignore

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// benchmarkLines are rules as found in real ignore files, in a usual mix, none of which matches the paths of the benchmark.
func benchmarkLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		format := [...]string{
			"build%d/", "*.x%d", "/dist/out%d/*.js", "name%d", "**/cache%d/**", "tmp%d*", "*_%d", "/docs/**/gen%d.md", "[Bb]in%d", "!keep%d.txt",
		}[i%10]
		lines[i] = fmt.Sprintf(format, i)
	}
	return lines
}

func BenchmarkMatch(b *testing.B) {
	paths := []string{
		"README.md", "src/app/main.py", "src/app/models/user_model.py", "dist/bundle/app.js", "docs/guide/part/intro.md",
		"data/2024/01/readings.csv", "tests/unit/test_name.py", "a/b/c/d/e/f/g.txt",
	}
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rules, err := Compile("", benchmarkLines(n))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				rules.Match(paths[i%len(paths)])
				i++
			}
		})
	}
}

// BenchmarkMatchScan has only rules that no component can look up, half of them for regular expressions.
func BenchmarkMatchScan(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			lines := make([]string, n)
			for i := range lines {
				lines[i] = fmt.Sprintf([...]string{"*part%d*", "*user[!a]%d*", "?odel%d[0-9]", "[!_]%d.js"}[i%4], i)
			}
			rules, err := Compile("", lines)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				rules.Match("src/app/models/user_model.py")
			}
		})
	}
}

func BenchmarkMatchRandom(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rules, paths := randomRules(b, n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				rules.Match(paths[i%len(paths)])
				i++
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	lines := benchmarkLines(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile("", lines); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDefaultExclusion(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		DefaultExclusion("src/app/models/user_model.py")
	}
}

func BenchmarkSensitive(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Sensitive("src/app/models/user_model.py")
	}
}

// randomRules are rules of random names with stars anywhere, without slash-matching classes, and paths of the same names.
func randomRules(b *testing.B, n int) (*Rules, []string) {
	r := rand.New(rand.NewPCG(8, 9))
	name := func() string {
		return pick(r, []string{"app", "core", "data", "test", "util", "model", "view", "build"}) + fmt.Sprint(r.IntN(n))
	}
	lines := make([]string, n)
	for i := range lines {
		var parts []string
		for range 1 + r.IntN(3) {
			part := name()
			switch r.IntN(6) {
			case 0:
				part = part[:2] + "*" + part[3:]
			case 1:
				part = "*" + part[2:]
			case 2:
				part = "**"
			}
			parts = append(parts, part)
		}
		lines[i] = strings.Join(parts, "/") + pick(r, []string{"", "", "/", ".py", ".*"})
	}
	rules, err := Compile("", lines)
	if err != nil {
		b.Fatal(err)
	}
	paths := make([]string, 512)
	for i := range paths {
		var parts []string
		for range 1 + r.IntN(5) {
			parts = append(parts, name())
		}
		paths[i] = strings.Join(parts, "/") + pick(r, []string{".py", ".csv", ""})
	}
	return rules, paths
}
