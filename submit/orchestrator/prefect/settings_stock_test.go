//go:build unix

package prefect_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// stockSettings are some that Prefect finds.
type stockSettings struct {
	URL        string            `json:"url"`
	AuthString string            `json:"auth_string"`
	Headers    map[string]string `json:"headers"`
	Retries    int               `json:"retries"`
	Codes      []int             `json:"codes"`
	Pool       string            `json:"pool"`
	Profile    string            `json:"profile"`
}

// TestDiscoverAsPrefect: in the same directory with the same environment, Prefect finds the same.
func TestDiscoverAsPrefect(t *testing.T) {
	python := started.Python(t)
	const profiles = "active = \"mine\"\n[profiles.mine]\nPREFECT_API_URL = \"http://profile/api\"\nPREFECT_CLIENT_MAX_RETRIES = 2\nPREFECT_DEFAULT_WORK_POOL_NAME = \"p\"\n"
	const home = "home/.prefect/profiles.toml"
	type place struct {
		Directory   string            `json:"directory"`
		Environment map[string]string `json:"environment"`
	}
	type test struct {
		name  string
		files map[string]string
		env   []string
	}
	tests := []test{
		{"each place has something to say", map[string]string{
			home: profiles, "pyproject.toml": "[tool.prefect]\napi.url = 'http://pyproject/api'\nclient.max_retries = 3\n",
			"prefect.toml": "api.url = 'http://toml/api'\nclient.retry_extra_codes = [500, 504]\n", ".env": "PREFECT_API_URL=http://dot/api\n",
		}, []string{"PREFECT_API_AUTH_STRING=a:b"}},
		{"a line of .env, before the environment", map[string]string{home: profiles, ".env": "HOST=dot\nPREFECT_API_URL=http://${HOST}:${PORT}/api\nPREFECT_TEST_MODE=1\n"}, []string{"HOST=env", "PORT=80"}},
		{"PREFECT_HOME and PREFECT_PROFILE in .env", map[string]string{home: profiles, "else/profiles.toml": strings.ReplaceAll(profiles, "profile/", "else/"), ".env": "PREFECT_HOME=else\nPREFECT_PROFILE=local\n"}, nil},
		{"PREFECT_HOME, and an unknown profile", map[string]string{home: profiles, "else/profiles.toml": profiles}, []string{"PREFECT_HOME=else", "PREFECT_PROFILE=nope"}},
		{"headers of several places, and profiles_path", map[string]string{
			home: "", "else/profiles.toml": profiles, "pyproject.toml": "[tool.prefect]\nprofiles_path = 'else/profiles.toml'\n",
			"prefect.toml": "[client.custom_headers]\nA = '1'\nB = '1'\n", ".env": "PREFECT_CLIENT_CUSTOM_HEADERS='{\"B\": \"2\", \"C\": \"2\"}'\n",
		}, []string{`PREFECT_CLIENT_CUSTOM_HEADERS={"C": "3"}`}},
		{"test mode", map[string]string{home: profiles}, []string{"PREFECT_TESTING_TEST_MODE=1"}},
		{"none", nil, []string{"PREFECT_CLIENT_MAX_RETRIES=0"}},
		{"no status code", nil, []string{"PREFECT_CLIENT_RETRY_EXTRA_CODES=500,700"}},
	}
	var places []place
	var got []*stockSettings
	for _, test := range tests {
		dir := t.TempDir()
		write(t, dir, test.files)
		env := append([]string{"HOME=" + filepath.Join(dir, "home")}, test.env...)
		p := place{dir, map[string]string{"PATH": os.Getenv("PATH")}}
		for _, e := range env {
			name, value, _ := strings.Cut(e, "=")
			p.Environment[name] = value
		}
		places = append(places, p)
		s, err := prefect.Discover(&prefect.DiscoverOptions{Environ: env, Dir: dir})
		if err != nil {
			got = append(got, nil)
			continue
		}
		found := &stockSettings{s.APIURL, string(s.AuthString), map[string]string{}, max(s.MaxRetries, 0), append([]int{}, s.RetryCodes...), s.DefaultWorkPool, s.Profile}
		for name, value := range s.Headers {
			found.Headers[name] = string(value)
		}
		got = append(got, found)
	}
	in, err := json.Marshal(places)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), python, "../../../testdata/flows/stock/settings.py")
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("settings.py: %v\n%s", err, log.Bytes())
	}
	decoder := json.NewDecoder(&out)
	for i, test := range tests {
		var want *stockSettings
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("%s: %v\n%s", test.name, err, log.Bytes())
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("%s (-Prefect +ours):\n%s", test.name, diff)
		}
	}
}
