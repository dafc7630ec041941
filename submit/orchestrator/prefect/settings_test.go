package prefect_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiscover asks each of the places for the same setting, the URL, and for one of its own.
func TestDiscover(t *testing.T) {
	const profiles = "active = \"mine\"\n[profiles.mine]\nPREFECT_API_URL = \"http://profile/api/\"\nPREFECT_CLIENT_MAX_RETRIES = 2\n[profiles.other]\nPREFECT_API_URL = \"http://other/api\"\n"
	for _, test := range []struct {
		name    string
		files   map[string]string // home/ is the user's
		env     []string
		profile string
		want    string // URL, profile, retries, warnings
	}{
		{name: "nothing", want: " ephemeral 5"},
		{name: "profile", files: map[string]string{"home/.prefect/profiles.toml": profiles}, want: "http://profile/api mine 2"},
		{name: "PREFECT_PROFILE", files: map[string]string{"home/.prefect/profiles.toml": profiles}, env: []string{"PREFECT_PROFILE=other"}, want: "http://other/api other 5"},
		{name: "a profile that is asked for", files: map[string]string{"home/.prefect/profiles.toml": profiles}, env: []string{"PREFECT_PROFILE=mine"}, profile: "other", want: "http://other/api other 5"},
		{name: "a packaged profile", env: []string{"PREFECT_PROFILE=local"}, want: "http://127.0.0.1:4200/api local 5"},
		{name: "unknown profile", env: []string{"PREFECT_PROFILE=nope"}, want: ` ephemeral 5 there is no profile "nope": the default profile "ephemeral" is used`},
		{name: "an unknown profile that is asked for", profile: "nope", want: `prefect: settings: there is no profile "nope"`},
		{name: "test mode", files: map[string]string{"home/.prefect/profiles.toml": profiles}, env: []string{"PREFECT_TEST_MODE=1"}, want: " mine 5"},
		{name: "PREFECT_HOME", files: map[string]string{"home/else/profiles.toml": profiles}, env: []string{"PREFECT_HOME=~/else"}, want: "http://profile/api mine 2"},
		{name: "PREFECT_PROFILES_PATH in .env", files: map[string]string{"p.toml": profiles, ".env": "PREFECT_PROFILES_PATH=p.toml"}, want: "http://profile/api mine 2"},
		{name: "damaged profiles", files: map[string]string{"home/.prefect/profiles.toml": "active = \"mine\"\nkey = secret\n"}, want: ` ephemeral 5 the profiles are not used: "HOME/.prefect/profiles.toml": line 2 is not valid TOML`},
		{name: "pyproject.toml", files: map[string]string{"home/.prefect/profiles.toml": profiles, "pyproject.toml": "[tool.prefect.api]\nurl = 'http://pyproject/api'\n[tool.prefect.client]\nmax_retries = 3\n"}, want: "http://pyproject/api mine 3"},
		{name: "prefect.toml", files: map[string]string{"pyproject.toml": "[tool.prefect.api]\nurl = 'http://pyproject/api'\n", "prefect.toml": "api.url = 'http://toml/api'\nprofiles_path = 'p.toml'\n", "p.toml": profiles}, want: "http://toml/api mine 2"},
		{name: "damaged prefect.toml", files: map[string]string{"prefect.toml": "[api]\nkey = secret\n"}, want: `prefect: settings: "prefect.toml": line 2 is not valid TOML`},
		{name: ".env", files: map[string]string{"prefect.toml": "api.url = 'http://toml/api'\n", ".env": "\ufeff# settings\nexport HOST = 'dot'\nOTHER\nprefect_api_url=\"http://${HOST}${PORT:-:80}/api\" # here\n"}, want: "http://dot:80/api ephemeral 5"},
		{name: "environment", files: map[string]string{".env": "PREFECT_API_URL=http://dot/api\nPREFECT_CLIENT_MAX_RETRIES=7"}, env: []string{"prefect_api_url=http://env/api"}, want: "http://env/api ephemeral 7"},
		{name: "none on purpose", files: map[string]string{"home/.prefect/profiles.toml": profiles}, env: []string{"PREFECT_API_URL="}, want: " mine 2"},
		{name: "not a number", env: []string{"PREFECT_CLIENT_MAX_RETRIES=secret"}, want: "prefect: settings: the setting PREFECT_CLIENT_MAX_RETRIES is not a whole number, 0 or more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			home := filepath.Join(dir, "home")
			write(t, dir, test.files)
			got := ""
			s, err := prefect.Discover(&prefect.DiscoverOptions{Environ: append([]string{"HOME=" + home}, test.env...), Dir: dir, Profile: test.profile})
			if err != nil {
				got = err.Error()
			} else {
				got = strings.TrimRight(fmt.Sprintf("%s %s %d %s", s.APIURL, s.Profile, s.MaxRetries, strings.Join(s.Warnings, "; ")), " ")
			}
			got = strings.ReplaceAll(filepath.ToSlash(got), filepath.ToSlash(home), "HOME")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiscoverSecrets(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".env": "PREFECT_API_AUTH_STRING=admin:pa$$word#1\n", "prefect.toml": "[client.custom_headers]\nX-Token = 't0ken'\n"})
	s, err := prefect.Discover(&prefect.DiscoverOptions{Environ: []string{"PREFECT_API_KEY=pnu_key"}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{string(s.AuthString), string(s.Headers["X-Token"]), string(s.APIKey)}
	if diff := cmp.Diff([]string{"admin:pa$$word#1", "t0ken", "pnu_key"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		text := fmt.Sprintf(form, *s)
		for _, secret := range append(got, fmt.Sprintf("%x", "pnu_key")) {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q: %s", form, secret, text)
			}
		}
	}
}

func FuzzDiscover(f *testing.F) {
	f.Add("A='x\\'y'\nPREFECT_API_URL=\"${A}\"", "[api]\nurl='http://h/api'\n", "active='a'\n[profiles.a]\nX=1\n")
	f.Add("export 'B'=1 # c\n\"\n=\n'", "client.retry_extra_codes=[500]", "profiles=1")
	f.Fuzz(func(t *testing.T, dotenv, settings, profiles string) {
		dir := t.TempDir()
		write(t, dir, map[string]string{".env": dotenv, "prefect.toml": settings, "home/.prefect/profiles.toml": profiles})
		s, err := prefect.Discover(&prefect.DiscoverOptions{Environ: []string{"HOME=" + filepath.Join(dir, "home")}, Dir: dir})
		if err == nil && (s.MaxRetries < -1 || s.Timeout < -1) {
			t.Errorf("%+v", s)
		}
	})
}
