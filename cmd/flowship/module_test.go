//go:build unix

package main

import (
	"crypto/rand"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// TestModuleAmbient uploads and executes on S3 as boto3 would: endpoint and keys come from the
// environment, and no region does. A key that is not accepted is in no message.
func TestModuleAmbient(t *testing.T) {
	u, err := url.Parse(started.Server(t, "s3", "FLOWSHIP_TEST_S3"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("flowship")
	if err != nil {
		t.Fatal(err)
	}
	dir, work := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := os.Getenv("AWS_SECRET_ACCESS_KEY")
	flowship := func(dir, secret string, args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL_S3="+u.Query().Get("endpoint"), "AWS_REGION=", "AWS_DEFAULT_REGION=", "HOME="+t.TempDir(),
			"AWS_SECRET_ACCESS_KEY="+secret, "FLOWSHIP_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), secret) {
			t.Errorf("%q shows the secret: %s", args, out)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	want := func(code int, text string, got int, out string) {
		t.Helper()
		if got != code || !strings.HasPrefix(out, text) || text == "" && out != "" {
			t.Errorf("code %d, %q; want code %d, %q", got, out, code, text)
		}
	}
	if code, out := flowship(dir, secret, "bundle", "build", "--include", "a.txt", "--out", "dist", "--", "sh", "-c", "cat a.txt; exit 6"); code != 0 {
		t.Fatal(out)
	}
	sidecars, err := filepath.Glob(filepath.Join(dir, "dist", "files", "*.zip"))
	if err != nil || len(sidecars) != 1 {
		t.Fatal(sidecars, err)
	}
	key, bucket := "ambient-"+strings.ToLower(rand.Text()), "--bucket="+u.Host
	upload := func(secret, key, file string) (int, string) {
		return flowship(filepath.Join(dir, "dist"), secret, "-m", "prefect_aws.bundles.upload", bucket, "--key", key, file)
	}
	for key, file := range map[string]string{key: "bundle.json", "files/" + filepath.Base(sidecars[0]): sidecars[0]} {
		for range 2 {
			code, out := upload(secret, key, file)
			want(0, "", code, out)
		}
	}
	code, out := flowship(work, secret, "-m", "prefect_aws.bundles.execute", bucket, "--key", key)
	want(6, "hello\n", code, out)
	code, out = upload("n0t-the-secret", key, "bundle.json")
	want(1, "Failed to upload bundle to S3 (RuntimeError): Failed to upload bundle to S3: ", code, out)
	code, out = flowship(work, secret, "-m", "prefect_aws.bundles.execute", bucket, "--key", "none")
	want(1, "Bundle execution failed (RuntimeError): Failed to download bundle from S3: ", code, out)
}
