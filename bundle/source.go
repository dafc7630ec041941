package bundle

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// addSource adds a python entrypoint's own source to what patterns selected: the flow file and
// the local modules that it imports, whatever ignore files say of them, for without them the
// run could not start.
func addSource(c *Collection, selected []picked, entrypoint string) ([]picked, error) {
	source, err := sourceFiles(c.Base, entrypoint)
	if err != nil {
		return nil, err
	}
	for _, p := range selected {
		delete(source, p.rel)
	}
	for _, p := range source {
		selected = append(selected, p)
	}
	c.Excluded = slices.DeleteFunc(c.Excluded, func(e Excluded) bool {
		p, packed := source[e.Path]
		if packed {
			c.Notes = append(c.Notes, fmt.Sprintf("%s is packed although %s leaves it out: %s", e.Path, cmp.Or(e.Source, e.Rule), p.why))
		}
		return packed
	})
	return selected, nil
}

// whyEntrypoint is the reason why the flow file itself is packed.
const whyEntrypoint = "entrypoint"

// sourceFiles finds the source that an entrypoint such as "flow.py:main" needs, by reading it:
// nothing is imported or run. A module that is not found below base is taken to be installed
// where the flow runs. Unlike the files that patterns select, a link keeps its own name, under
// which it is imported.
func sourceFiles(base, entrypoint string) (map[string]picked, error) {
	script, _, ok := strings.Cut(entrypoint, ".py:")
	if !ok {
		return nil, &Error{Kind: KindNotFound, Path: entrypoint, Reason: "is not of the form path/flow.py:name"}
	}
	script += ".py"
	script = filepath.ToSlash(script)
	if err := checkText(script); err != nil {
		return nil, err
	}
	if _, _, err := locate(base, joinPath(base, script), script); err != nil {
		return nil, err
	}
	r := &sourceReader{base: base, roots: slices.Compact([]string{path.Dir(path.Clean(script)), "."}), found: make(map[string]picked)}
	if !r.file(path.Clean(script), whyEntrypoint) {
		return nil, &Error{Kind: KindNotFound, Path: script, Reason: "the flow file is not there"}
	}
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		if err := r.read(next); err != nil {
			return nil, err
		}
	}
	return r.found, nil
}

// sourceReader follows imports. Python finds modules in the script's directory, then in the
// working directory, which is the base directory where the flow runs.
type sourceReader struct {
	base  string
	roots []string
	found map[string]picked
	queue []string
}

func (r *sourceReader) read(rel string) error {
	text, err := os.ReadFile(joinNative(r.base, rel))
	if err != nil {
		return fileError(rel, err)
	}
	for _, imp := range readImports(text) {
		why := fmt.Sprintf("import of %s:%d", rel, imp.line)
		roots := r.roots
		if imp.level > 0 {
			dir := path.Dir(rel)
			for range imp.level - 1 {
				dir = path.Join(dir, "..")
			}
			if strings.HasPrefix(dir, "..") {
				continue
			}
			roots = []string{dir}
		}
		r.add(roots, imp, why)
	}
	return nil
}

// add looks for the module in the roots; the first that has it wins.
func (r *sourceReader) add(roots []string, imp pythonImport, why string) {
	for _, root := range roots {
		dir, ok := r.module(root, imp.module, why)
		if !ok {
			continue
		}
		for _, name := range imp.names {
			r.module(dir, name, why)
		}
		return
	}
}

// module adds a dotted module below root, with the packages that it lies in, and returns the
// directory that its submodules would be in.
func (r *sourceReader) module(root, dotted, why string) (dir string, ok bool) {
	dir = root
	if dotted == "" {
		r.file(path.Join(dir, "__init__.py"), why)
		return dir, true
	}
	for part := range strings.SplitSeq(dotted, ".") {
		next := path.Join(dir, part)
		switch {
		case r.file(path.Join(next, "__init__.py"), why):
		case r.file(next+".py", why):
		case r.isDir(next):
		default:
			return "", dir != root
		}
		dir = next
	}
	return dir, true
}

// file adds a file that is there.
func (r *sourceReader) file(rel, why string) bool {
	resolved, found, err := locate(r.base, joinPath(r.base, rel), rel)
	if err != nil || !found {
		return false
	}
	if info, err := os.Stat(resolved); err != nil || !info.Mode().IsRegular() {
		return false
	}
	if _, known := r.found[rel]; !known {
		p := picked{rel: rel, why: why}
		if target, _ := within(r.base, resolved); target != rel {
			p.from = target
		}
		r.found[rel] = p
		r.queue = append(r.queue, rel)
	}
	return true
}

func (r *sourceReader) isDir(rel string) bool {
	dir, err := statDir(joinPath(r.base, rel))
	return err == nil && dir
}

// pythonImport is one imported module: "from ..a.b import c, d" has level 2, module "a.b" and
// names c and d.
type pythonImport struct {
	line   int
	level  int
	module string
	names  []string
}

// readImports finds the import statements of a Python file, wherever they stand.
func readImports(text []byte) []pythonImport {
	var imports []pythonImport
	for _, s := range pythonStatements(text) {
		words := s.text
		switch {
		case strings.HasPrefix(words, "import "):
			for module := range strings.SplitSeq(words[len("import "):], ",") {
				if name := firstWord(module); isDotted(name) {
					imports = append(imports, pythonImport{line: s.line, module: name})
				}
			}
		case strings.HasPrefix(words, "from ") || strings.HasPrefix(words, "from."):
			if imp, ok := fromImport(words[len("from"):]); ok {
				imp.line = s.line
				imports = append(imports, imp)
			}
		}
	}
	return imports
}

func fromImport(words string) (imp pythonImport, ok bool) {
	module, names, ok := strings.Cut(strings.TrimSpace(words), " import ")
	if !ok {
		module, names, ok = strings.Cut(strings.TrimSpace(words), " import(")
	}
	if !ok { // "from .import x"
		if module, names, ok = strings.Cut(strings.TrimSpace(words), ".import "); !ok {
			return imp, false
		}
		module += "."
	}
	module = strings.ReplaceAll(module, " ", "")
	imp.module = strings.TrimLeft(module, ".")
	imp.level = len(module) - len(imp.module)
	if imp.module != "" && !isDotted(imp.module) || module == "" {
		return imp, false
	}
	for name := range strings.SplitSeq(strings.Trim(names, " ()"), ",") {
		if name = firstWord(name); isDotted(name) {
			imp.names = append(imp.names, name)
		}
	}
	return imp, true
}

// firstWord drops "as name".
func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.Trim(s, " ()"), " ")
	return word
}

func isDotted(s string) bool {
	return s != "" && !strings.ContainsAny(s, "*()=+-/'\"[]{}:;%<>&|!~@^`") && !strings.HasPrefix(s, ".")
}

type statement struct {
	line int
	text string
}

// pythonStatements cuts a file into statements with comments and strings blanked, so that
// nothing in them is taken for an import; what follows a colon counts as one of its own.
func pythonStatements(text []byte) []statement {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var out []statement
	var current bytes.Buffer
	line, start, depth, blank := 1, 1, 0, true
	flush := func() {
		if words := strings.Join(strings.Fields(current.String()), " "); words != "" {
			out = append(out, statement{line: start, text: words})
		}
		current.Reset()
		start, blank = line, true
	}
	for i := 0; i < len(text); {
		ch := text[i]
		switch {
		case ch == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
			continue
		case ch == '"' || ch == '\'':
			n := pythonString(text[i:])
			line += bytes.Count(text[i:i+n], []byte("\n"))
			current.WriteString(`""`)
			blank = false
			i += n
			continue
		case ch == '\\' && (bytes.HasPrefix(text[i+1:], []byte("\n")) || bytes.HasPrefix(text[i+1:], []byte("\r\n"))):
			line++
			current.WriteByte(' ')
			i += 1 + bytes.IndexByte(text[i+1:], '\n') + 1
			continue
		case ch == '(' || ch == '[' || ch == '{':
			depth++
		case ch == ')' || ch == ']' || ch == '}':
			depth = max(0, depth-1)
		case ch == '\n':
			line++
			if depth == 0 {
				flush()
			}
			ch = ' '
		case (ch == ';' || ch == ':') && depth == 0:
			flush()
			ch = ' '
		}
		if blank = blank && (ch == ' ' || ch == '\t' || ch == '\r'); blank {
			start = line
		}
		current.WriteByte(ch)
		i++
	}
	flush()
	return out
}

// pythonString returns the length of the string literal that text starts with.
func pythonString(text []byte) int {
	quote := text[:1]
	if len(text) >= 3 && text[1] == text[0] && text[2] == text[0] {
		quote = text[:3]
	}
	for i := len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\':
			i++
		case bytes.HasPrefix(text[i:], quote):
			return i + len(quote)
		case text[i] == '\n' && len(quote) == 1:
			return i // unterminated: Python would not read it either
		}
	}
	return len(text)
}
