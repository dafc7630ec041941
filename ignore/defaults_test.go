package ignore

import "testing"

func TestDefaultExclusion(t *testing.T) {
	tests := []struct{ path, rule string }{
		{"a.py", ""},
		{"a.pyc", "*.pyc"},
		{"d/a.pyo", "*.pyo"},
		{"a.pyc/b", ""},
		{"__pycache__/a", "__pycache__/"},
		{"d/__pycache__", "__pycache__/"},
		{"my__pycache__/a", ""},
		{"x.egg-info/a", "*.egg-info/"},
		{".egg-info", "*.egg-info/"},
		{"x.egg-info2/a", ""},
		{".git/config", ".git/"},
		{".gitignore", ""},
		{".hg/a", ".hg/"},
		{".svn/a", ".svn/"},
		{"a/node_modules/b/c.js", "node_modules/"},
		{".venv/a", ".venv/"},
		{"venv", "venv/"},
		{"Venv/a", ""},
		{".idea/a", ".idea/"},
		{".vscode/a", ".vscode/"},
		{"d/.DS_Store", ".DS_Store"},
		{".DS_Store/a", ""},
		{"Thumbs.db", "Thumbs.db"},
		{"thumbs.db", ""},
	}
	for _, tt := range tests {
		if rule, excluded := DefaultExclusion(tt.path); rule != tt.rule || excluded != (tt.rule != "") {
			t.Errorf("%q: %q, %v; want %q", tt.path, rule, excluded, tt.rule)
		}
	}
	for name, want := range map[string]bool{"venv": true, "x.egg-info": true, "a.pyc": false, ".DS_Store": false, "src": false} {
		if _, got := DefaultExclusionDir(name); got != want {
			t.Errorf("directory %q: %v, want %v", name, got, want)
		}
	}
}

func TestHidden(t *testing.T) {
	for path, want := range map[string]bool{".env": true, "a/.b/c": true, "a/.b": true, "a.b/c.d": false, "a": false, "..a": true} {
		if got := Hidden(path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

func TestAlwaysExcluded(t *testing.T) {
	for path, want := range map[string]bool{".prefectignore": true, "d/.prefectignore": true, "my.prefectignore": true, ".prefectignore/a": false, ".prefectignore2": false} {
		if got := AlwaysExcluded(path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

func TestSensitive(t *testing.T) {
	tests := []struct{ path, pattern string }{
		{".env", ".env*"},
		{"c/.env.production", ".env*"},
		{".envrc/x", ".env*"},
		{"a.pem", "*.pem"},
		{".env.key", ".env*"},
		{"d/tls.key", "*.key"},
		{"credentials.json", "credentials.*"},
		{"credentials", ""},
		{"id_rsa", "*_rsa"},
		{"id_rsa.pub", ""},
		{"x.p12", "*.p12"},
		{"secrets.d/x.txt", "secrets.*"},
		{"my_secrets.txt", ""},
		{"secrets.pem", "*.pem"},
	}
	for _, tt := range tests {
		if pattern, sensitive := Sensitive(tt.path); pattern != tt.pattern || sensitive != (tt.pattern != "") {
			t.Errorf("%q: %q, %v; want %q", tt.path, pattern, sensitive, tt.pattern)
		}
	}
}
