package ignore

import (
	"strings"
	"sync"
)

// DefaultExclusion reports whether Prefect leaves the file out of every glob and directory pattern, and by which of its fixed rules. These
// are not ignore rules: "venv/" takes out each path with a component of that name, a file called venv too, and no rule brings it back. The
// path is relative to the root of the walk.
func DefaultExclusion(rel string) (rule string, excluded bool) {
	name := rel
	for more := true; more; {
		name, rel, more = strings.Cut(rel, "/")
		if rule, excluded := DefaultExclusionDir(name); excluded {
			return rule, true
		}
	}
	switch {
	case strings.HasSuffix(name, ".pyc"):
		return "*.pyc", true
	case strings.HasSuffix(name, ".pyo"):
		return "*.pyo", true
	case name == ".DS_Store", name == "Thumbs.db":
		return name, true
	}
	return "", false
}

// DefaultExclusionDir reports whether DefaultExclusion holds for everything below a directory of this name.
func DefaultExclusionDir(name string) (rule string, excluded bool) {
	switch name {
	case "__pycache__":
		return "__pycache__/", true
	case ".git":
		return ".git/", true
	case ".hg":
		return ".hg/", true
	case ".svn":
		return ".svn/", true
	case "node_modules":
		return "node_modules/", true
	case ".venv":
		return ".venv/", true
	case "venv":
		return "venv/", true
	case ".idea":
		return ".idea/", true
	case ".vscode":
		return ".vscode/", true
	}
	if strings.HasSuffix(name, ".egg-info") {
		return "*.egg-info/", true
	}
	return "", false
}

// Hidden reports whether a component of the path starts with a dot. Prefect leaves such files out of every glob and directory pattern.
func Hidden(rel string) bool {
	return strings.HasPrefix(rel, ".") || strings.Contains(rel, "/.")
}

// AlwaysExcluded reports whether Prefect packs the file under no circumstances: ignore files, and whatever else has a name that ends like
// theirs.
func AlwaysExcluded(rel string) bool {
	return strings.HasSuffix(rel, fileName)
}

// sensitive holds one list of rules per pattern, since the first pattern that matches is the one to report.
var sensitive = sync.OnceValue(func() []*Rules {
	var lists []*Rules
	for _, p := range []string{".env*", "*.pem", "*.key", "credentials.*", "*_rsa", "*.p12", "secrets.*"} {
		rules, err := Compile("", []string{p})
		if err != nil {
			panic(err) // a constant
		}
		lists = append(lists, rules)
	}
	return lists
})

// Sensitive reports whether the path looks like one of credentials, at any depth, and which of Prefect's patterns says so. Such files are
// packed; a person should hear of it.
func Sensitive(rel string) (pattern string, sensitiveName bool) {
	for _, rules := range sensitive() {
		if v := rules.Match(rel); v.Ignored {
			return v.Rule.Pattern, true
		}
	}
	return "", false
}
