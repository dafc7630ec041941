package prefect_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

func TestEditProfile(t *testing.T) {
	const key = "PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME"
	for _, test := range []struct{ name, text, profile, value, want string }{
		{"no file", "", "ephemeral", "p", "[profiles.ephemeral]\n" + key + " = \"p\"\n"},
		{"new key", "active = \"a\" # mine\n\n[profiles.a]\n# secret\nPREFECT_API_KEY = 'k' # here\n\n[profiles.b]\nX = 1\n", "a", "p",
			"active = \"a\" # mine\n\n[profiles.a]\n# secret\nPREFECT_API_KEY = 'k' # here\n" + key + " = \"p\"\n\n[profiles.b]\nX = 1\n"},
		{"empty table", "[profiles.a]\n[profiles.b]\nX = 1", "a", "p", "[profiles.a]\n" + key + " = \"p\"\n[profiles.b]\nX = 1"},
		{"table at the end, no newline", "[profiles.a]\nX = 1", "a", "p", "[profiles.a]\nX = 1\n" + key + " = \"p\"\n"},
		{"other value", "[profiles.a]\n" + key + "  =  'old'  # why\nY = 2\n", "a", "p", "[profiles.a]\n" + key + "  =  \"p\"  # why\nY = 2\n"},
		{"older name", "[profiles.a]\nPREFECT_DEFAULT_WORK_POOL_NAME='old'\n", "a", "p", "[profiles.a]\nPREFECT_DEFAULT_WORK_POOL_NAME=\"p\"\n"},
		{"both names", "[profiles.a]\nPREFECT_DEFAULT_WORK_POOL_NAME='1'\n" + key + "='2'\n", "a", "p", "[profiles.a]\nPREFECT_DEFAULT_WORK_POOL_NAME=\"p\"\n" + key + "=\"p\"\n"},
		{"not another profile's", "[profiles.b]\n" + key + " = 'b'\n", "a", "p", "[profiles.b]\n" + key + " = 'b'\n\n[profiles.a]\n" + key + " = \"p\"\n"},
		{"CRLF", "active = 'a'\r\n\r\n[profiles.a]\r\nX = 1\r\n\r\n[profiles.b]\r\n", "a", "p",
			"active = 'a'\r\n\r\n[profiles.a]\r\nX = 1\r\n" + key + " = \"p\"\r\n\r\n[profiles.b]\r\n"},
		{"CRLF, new table", "active = 'a'\r\n", "a", "p", "active = 'a'\r\n\r\n[profiles.a]\r\n" + key + " = \"p\"\r\n"},
		{"quotes and spaces", "[ profiles . 'my one' ]\nX = 1\n", "my one", `a "b" \c`, "[ profiles . 'my one' ]\nX = 1\n" + key + ` = "a \"b\" \\c"` + "\n"},
		{"a name that needs quotes", "", "my.one", "p", "[profiles.\"my.one\"]\n" + key + " = \"p\"\n"},
		{"what looks like a table", "[profiles.a]\nX = \"\"\"\n[profiles.b]\n" + key + " = 'no'\n\"\"\"\nY = [ # ]\n  '[profiles.c]',\n]\n[profiles.b]\n", "a", "p",
			"[profiles.a]\nX = \"\"\"\n[profiles.b]\n" + key + " = 'no'\n\"\"\"\nY = [ # ]\n  '[profiles.c]',\n]\n" + key + " = \"p\"\n[profiles.b]\n"},
		{"a table below it", "[profiles.a]\nX = 1\n[profiles.a.sub]\n" + key + " = 'no'\n", "a", "p", "[profiles.a]\nX = 1\n" + key + " = \"p\"\n[profiles.a.sub]\n" + key + " = 'no'\n"},
		{"arrays of tables", "[[other]]\nprofiles.a." + key + " = 'no'\n[profiles.a]\n", "a", "p", "[[other]]\nprofiles.a." + key + " = 'no'\n[profiles.a]\n" + key + " = \"p\"\n"},
		{"dotted keys", "profiles.a.X = 1\nprofiles.a." + key + " = 'old'\n", "a", "p", "profiles.a.X = 1\nprofiles.a." + key + " = \"p\"\n"},
		{"inline table", "[profiles]\na = { X = 1 }\n", "a", "p", `error: the profile "a" cannot be changed as it is written: set ` + key + " there"},
		{"not TOML", "[profiles.a]\nPREFECT_API_KEY = secret\n", "a", "p", "error: line 2 is not valid TOML"},
		{"the same value", "[profiles.a]\n" + key + " = \"p\"\n", "a", "p", "[profiles.a]\n" + key + " = \"p\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := prefect.EditProfile(test.text, test.profile, test.value)
			if err != nil {
				got = "error: " + err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzEditProfile: what was there stays, and what was asked for is there.
func FuzzEditProfile(f *testing.F) {
	f.Add("active = 'a'\n[profiles.a]\nX = 1 # c\n[profiles.b]\r\nY = '''\n'''\n", "a", "pool")
	f.Add("\ufeffprofiles.a.X = [1, # ]\n2]\n[[x]]\n[profiles.\"b c\"]\n", "b c", "p\"\n\\")
	f.Fuzz(func(t *testing.T, text, profile, value string) {
		got, err := prefect.EditProfile(text, profile, value)
		if err != nil {
			return
		}
		var table map[string]any
		if err := toml.Unmarshal([]byte(got), &table); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		p := table["profiles"].(map[string]any)[profile].(map[string]any)
		if p["PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME"] != value && p["PREFECT_DEFAULT_WORK_POOL_NAME"] != value {
			t.Errorf("%q: %v", got, p)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if !strings.Contains(line, "DEFAULT_WORK_POOL_NAME") && !strings.Contains(got, line) {
				t.Errorf("the line %q is gone from %q", line, got)
			}
		}
	})
}

// TestDefaultWorkPool: what one client writes, the next one finds; what wins over the profile is
// not written against.
func TestDefaultWorkPool(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"name": "mine", "type": "process"}`))
	}))
	defer srv.Close()
	dir := t.TempDir()
	profiles := filepath.Join(dir, "home", ".prefect", "profiles.toml")
	settings := func(env ...string) *prefect.Settings {
		t.Helper()
		s, err := prefect.Discover(&prefect.DiscoverOptions{Environ: append(env, "HOME="+filepath.Join(dir, "home"), "PREFECT_API_URL="+srv.URL), Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	choose := func(s *prefect.Settings) error {
		t.Helper()
		c, err := prefect.Open(s)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.SetDefaultWorkPool(t.Context(), "mine")
	}
	if err := choose(settings("PREFECT_DEFAULT_WORK_POOL_NAME=other")); err == nil || !strings.Contains(err.Error(), `PREFECT_DEFAULT_WORK_POOL_NAME is set to "other"`) {
		t.Errorf("the environment wins: %v", err)
	}
	if _, err := os.Stat(profiles); err == nil {
		t.Error("it is written nevertheless")
	}
	if err := choose(settings("PREFECT_DEFAULT_WORK_POOL_NAME=mine")); err != nil {
		t.Errorf("the environment says the same: %v", err)
	}
	if err := choose(settings()); err != nil {
		t.Fatal(err)
	}
	got := []string{settings().DefaultWorkPool, settings("PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME=first", "PREFECT_DEFAULT_WORK_POOL_NAME=second").DefaultWorkPool, settings("PREFECT_TEST_MODE=1").DefaultWorkPool}
	if diff := cmp.Diff([]string{"mine", "first", ""}, got); diff != "" {
		t.Errorf("discovered (-want +got):\n%s", diff)
	}
	info, err := os.Stat(profiles)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(profiles))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
