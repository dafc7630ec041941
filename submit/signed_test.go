//go:build unix

package submit_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// eachSigner runs the test with a home whose pool has its storage on a server that checks
// signatures, and with the names of the variables that hold the credentials for it.
func eachSigner(t *testing.T, test func(t *testing.T, b *bed, credentials []string)) {
	for server, variable := range map[string]string{"s3": "FLOWSHIP_TEST_S3", "azure": "FLOWSHIP_TEST_AZURE"} {
		t.Run(server, func(t *testing.T) {
			u := serverURL(t, server, variable)
			test(t, signerBed(t, server, u), map[string][]string{
				"s3":    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
				"azure": {"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"},
			}[server])
		})
	}
}

func signerBed(t *testing.T, server string, u *url.URL) *bed {
	t.Helper()
	name := "creds"
	settings := submit.StorageSettings{Type: submit.StorageS3, Place: u.Host}
	if server == "s3" {
		t.Setenv("AWS_ENDPOINT_URL_S3", u.Query().Get("endpoint"))
	} else {
		settings.Type, settings.Credentials = submit.StorageAzure, &name
		t.Setenv("AZURE_STORAGE_DOMAIN", u.Query().Get("domain"))
		t.Setenv("AZURE_STORAGE_PROTOCOL", u.Query().Get("protocol"))
		t.Setenv("AZURE_STORAGE_IS_LOCAL_EMULATOR", u.Query().Get("localemu"))
	}
	b := newBed(t)
	if err := b.client.ConfigureStorage(t.Context(), "local", settings); err != nil {
		t.Fatal(err)
	}
	return b
}

// A job without credentials completes in all three ways, also when it is run again, and what its
// URLs keep secret is in no command line, log, state, file or database.
func TestSigned(t *testing.T) {
	eachSigner(t, func(t *testing.T, b *bed, credentials []string) {
		spied := t.TempDir()
		env := map[string]any{"SPIED": spied}
		for _, name := range credentials {
			env[name] = nil
		}
		// The executor's environment holds the URLs; nobody else's does.
		script := `
			env >"$SPIED/env"
			cat /proc/$PPID/environ >"$SPIED/executor" 2>/dev/null
			cat /proc/[0-9]*/cmdline >"$SPIED/argv" 2>/dev/null
			echo "got $(cat a.txt)"
			if [ ! -e "$SPIED/once" ]; then touch "$SPIED/once"; exit 1; fi
			printf '"%s"' "$(cat a.txt)" >"$FLOWSHIP_RESULT"`
		content := rand.Text()
		inv := submit.Invocation{
			Dir: tree(t, map[string]string{"a.txt": content}), Include: []string{"a.txt"}, Command: sh(script), Retries: 1,
			JobVariables: map[string]any{"storage_access": "signed", "env": env},
		}
		b.work(t, worker.Options{})
		for mode, way := range map[string]func(context.Context, submit.Invocation) (*submit.Run, error){
			"run": b.client.Run, "submit": b.client.Submit, "submit-to-work-pool": b.client.SubmitToWorkPool,
		} {
			os.Remove(filepath.Join(spied, "once"))
			run, err := way(t.Context(), inv)
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCompleted {
				t.Fatalf("%s: ended %+v", mode, state)
			}
			result, err := b.client.Result(t.Context(), run.ID)
			if err != nil || string(result) != `"`+content+`"` {
				t.Errorf("%s: result %s (%v)", mode, result, err)
			}
			b.wantSecret(t, spied, run.ID, credentials)
		}
		// What is run again is signed again.
		last := b.lastRun(t)
		if _, err := b.client.Retry(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		if state := b.ended(t, last.ID); state.Type != orchestrator.TypeCompleted {
			t.Errorf("run again, it ended %+v", state)
		}
	})
}

// The program of a Go flow is got in the same way, and the record may go to a store of its own.
func TestSignedProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	b := signerBed(t, "s3", serverURL(t, "s3", "FLOWSHIP_TEST_S3"))
	dir := "../testdata/flows/wordcount"
	inv := submit.Invocation{
		Runtime: bundle.RuntimeGo, Entrypoint: dir + ":WordCount", Program: goBuild(t, dir), Dir: dir, Include: []string{"texts/"}, Timeout: time.Minute,
		JobVariables: map[string]any{"storage_access": "signed", "env": map[string]any{"AWS_ACCESS_KEY_ID": nil, "AWS_SECRET_ACCESS_KEY": nil}},
	}
	run := b.run(t, inv)
	if run.State.Type != orchestrator.TypeCompleted || !strings.Contains(string(run.Result), `"jabberwocky":169`) {
		t.Errorf("ended %+v with %s", run.State, run.Result)
	}
	own, err := storage.FolderURL(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inv.Results = own
	if _, err := b.client.Run(t.Context(), inv); err == nil || !strings.Contains(err.Error(), "a folder needs no signed access") {
		t.Errorf("with records in a folder: %v", err)
	}
	inv.Results = run.Bundle.URL + "&prefix=records/"
	if run := b.run(t, inv); run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("with records elsewhere: ended %+v", run.State)
	}
}

// wantSecret: what the job was given is nowhere but in the executor's environment.
func (b *bed) wantSecret(t *testing.T, spied, id string, credentials []string) {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	program := read(filepath.Join(spied, "env"))
	for _, name := range append([]string{execute.EnvSigned}, credentials...) {
		if strings.Contains(program, name+"=") {
			t.Errorf("the program finds %s", name)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	secrets := []string{}
	executor := strings.Split(read(filepath.Join(spied, "executor")), "\x00")
	for _, v := range executor {
		name, value, _ := strings.Cut(v, "=")
		if slices.Contains(credentials, name) {
			t.Errorf("the executor finds %s", name)
		}
		if name == execute.EnvSigned {
			secrets = append(secrets, signatures(t, value)...)
		}
	}
	if len(secrets) != 3 { // document, sidecar, record
		t.Fatalf("%d signatures", len(secrets))
	}
	texts := map[string]string{"the command lines": read(filepath.Join(spied, "argv")), "the logs": strings.Join(b.logs(t, id), "\n")}
	run, err := b.client.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	texts["the run"] = string(shown) + string(run.JobVariables)
	secrets = append(secrets, os.Getenv(credentials[1]))
	for _, secret := range slices.Clone(secrets) {
		secrets = append(secrets, url.QueryEscape(secret))
	}
	for where, text := range texts {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s show a secret", where)
			}
		}
	}
	// Another process reads the database: this one would lose SQLite's locks on it.
	patterns := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(patterns, []byte(strings.Join(secrets, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := exec.Command("grep", "-rlFf", patterns, b.home).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("files with a secret: %s (%v)", found, err)
	}
}

// signatures are what makes the URLs secret.
func signatures(t *testing.T, variable string) (list []string) {
	t.Helper()
	s, err := execute.ParseSigned(variable)
	if err != nil {
		t.Fatal(err)
	}
	for _, urls := range []map[string]string{s.Get, s.Put} {
		for key, raw := range urls {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			secret := u.Query().Get("X-Amz-Signature") + u.Query().Get("sig")
			if secret == "" {
				t.Errorf("the URL of %q is not signed", key)
			}
			list = append(list, secret)
		}
	}
	return list
}

// A job that comes too late for its URLs ends CRASHED, and says why.
func TestSignedExpired(t *testing.T) {
	eachSigner(t, func(t *testing.T, b *bed, _ []string) {
		submitted, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: sh("true"), JobVariables: map[string]any{"storage_access": "signed"}})
		if err != nil {
			t.Fatal(err)
		}
		runs := b.runs(t)
		defer runs.Close()
		run, err := runs.FlowRun(t.Context(), submitted.ID)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := bundle.ParseDigest(run.Bundle.Digest)
		if err != nil {
			t.Fatal(err)
		}
		store, err := storage.Open(t.Context(), run.Bundle.URL, &storage.OpenOptions{Openers: gocloud.Openers(nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		get, err := store.Sign(t.Context(), run.Bundle.Key, http.MethodGet, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		put, err := store.Sign(t.Context(), execute.RecordKey(run.ID), http.MethodPut, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		object, err := storage.OpenSigned(get, nil)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the URL has expired", func() bool {
			_, err := object.ReadAll(t.Context(), 1<<20)
			return errors.Is(err, storage.ErrUnauthorized)
		})
		if _, err := runs.SetState(t.Context(), run.ID, orchestrator.NewState(orchestrator.TypePending, ""), nil); err != nil {
			t.Fatal(err)
		}
		_, err = execute.Run(t.Context(), run.Bundle.URL, run.Bundle.Key, digest, &execute.Options{
			Dir: t.TempDir(), FlowRunID: run.ID, Runs: runs,
			Signed: &execute.Signed{Get: map[string]string{run.Bundle.Key: get}, Put: map[string]string{execute.RecordKey(run.ID): put}},
		})
		state := b.ended(t, run.ID)
		if err == nil || state.Type != orchestrator.TypeCrashed || !strings.Contains(state.Message, "the signed URL expired at 2") {
			t.Errorf("ended %+v (%v)", state, err)
		}
		record, err := execute.ReadRecord(t.Context(), run.Bundle.URL, run.ID, &storage.OpenOptions{Openers: gocloud.Openers(nil)})
		if err != nil || record.State.Message != state.Message {
			t.Errorf("record %+v (%v)", record, err)
		}
	})
}
