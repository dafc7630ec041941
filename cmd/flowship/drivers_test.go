package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
)

// What the cloud SDKs log is not among what a program reads of an error.
func TestDriversAreQuiet(t *testing.T) {
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<Error>")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer cut.Close()
	for name, u := range map[string]string{
		"a URL that says how": "s3://b?region=us-east-1&use_path_style=true&endpoint=" + cut.URL,
		"the environment":     "s3://b",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "flowship", "storage", "ls", "-o", "json", "--url", u)
			cmd.Env = append(os.Environ(), "FLOWSHIP_HOME="+t.TempDir(), "AWS_ENDPOINT_URL="+cut.URL, "AWS_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1",
				"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=s", "PREFECT_API_URL=")
			_, err := cmd.Output()
			exit, ok := err.(*exec.ExitError)
			if !ok || !json.Valid(exit.Stderr) {
				t.Errorf("%v, stderr %s", err, exit.Stderr)
			}
		})
	}
}
