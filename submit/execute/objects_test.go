//go:build unix

package execute_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// sign serves the folder of the bundle, and returns the URLs of its objects.
func (s *stored) sign(t *testing.T) *execute.Signed {
	t.Helper()
	files := http.FileServer(http.Dir(s.dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sig") != "S3CRET" {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodPut {
			files.ServeHTTP(w, r)
			return
		}
		path := filepath.Join(s.dir, filepath.FromSlash(r.URL.Path))
		content, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	url := func(key string) string { return server.URL + "/" + key + "?sig=S3CRET" }
	record := execute.RecordKey(s.id)
	return &execute.Signed{
		Get: map[string]string{s.key: url(s.key), s.filesKey: url(s.filesKey)},
		Put: map[string]string{record: url(record)},
	}
}

// Signed URLs stand in place of the store: with the same verification, without opening it.
func TestSignedObjects(t *testing.T) {
	tests := []struct {
		name    string
		spoil   func(s *stored, o *execute.Signed)
		state   orchestrator.StateType
		message string
		code    int
	}{
		{"whole", func(*stored, *execute.Signed) {}, orchestrator.TypeCompleted, "", 0},
		{"another document", func(s *stored, _ *execute.Signed) { os.WriteFile(filepath.Join(s.dir, s.key), []byte("{}"), 0o600) },
			orchestrator.TypeCrashed, "is not the one that was submitted", 3},
		{"another sidecar", func(s *stored, _ *execute.Signed) { os.WriteFile(filepath.Join(s.dir, s.filesKey), nil, 0o600) },
			orchestrator.TypeCrashed, "is not the one that the document names", 3},
		{"no URL", func(s *stored, o *execute.Signed) { delete(o.Get, s.filesKey) }, orchestrator.TypeCrashed, `no signed URL to get "files/`, 5},
		{"no URL for the record", func(_ *stored, o *execute.Signed) { clear(o.Put) }, orchestrator.TypeCrashed, `no signed URL to put "results/`, 5},
		{"refused", func(s *stored, o *execute.Signed) { o.Get[s.key] += "2" }, orchestrator.TypeCrashed, "403", 5},
		{"no URL at all", func(s *stored, o *execute.Signed) { o.Get[s.key] = "S3CRET" }, orchestrator.TypeCrashed, "is not one of http", 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := store(t, map[string]string{"f": "1"}, sh(`cp f "$FLOWSHIP_RESULT"; env`), execute.FlowRun{})
			urls := s.sign(t)
			test.spoil(s, urls)
			s.url = "s3://nobody-opens-this"
			t.Setenv(execute.EnvSigned, "S3CRET")
			o := s.run(t, execute.Options{FlowRunID: s.id, Signed: urls})
			if o.record.State.Type != test.state || !strings.Contains(o.record.State.Message, test.message) || o.record.ExitCode != test.code {
				t.Errorf("code %d, %+v (%v)", o.record.ExitCode, o.record.State, o.err)
			}
			if strings.Contains(o.out+o.errOut+o.record.State.Message, "S3CRET") || o.err != nil && strings.Contains(o.err.Error(), "S3CRET") {
				t.Errorf("a secret is shown: %s%s%+v, %v", o.out, o.errOut, o.record.State, o.err)
			}
			if len(urls.Put) == 0 {
				return
			}
			record, err := os.ReadFile(filepath.Join(s.dir, "results", s.id+".json"))
			if err != nil || !strings.Contains(string(record), `"type":"`+string(test.state)+`"`) {
				t.Errorf("record %s, %v", record, err)
			}
		})
	}
}

func FuzzParseSigned(f *testing.F) {
	for _, text := range []string{`{"get": {"k": "https://s/k?sig=x"}, "put": {}}`, `{"get": ["S3CRET-S3CRET"]}`, `{"get": {"k": 1}}`, "S3CRET-S3CRET", "null", ""} {
		f.Add(text)
	}
	const want = "execute: the variable " + execute.EnvSigned + " is not what a launcher puts there"
	f.Fuzz(func(t *testing.T, text string) {
		s, err := execute.ParseSigned(text)
		if (s == nil) == (err == nil) || err != nil && err.Error() != want {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
