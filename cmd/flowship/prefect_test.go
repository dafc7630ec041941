//go:build unix

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// object is a store of the testbed with what Prefect needs to know of it.
type object struct {
	kind   string // as "prefect work-pool storage configure" calls it
	fields map[string]any
	flags  []string
	env    []string
	secret string
}

func stores(t *testing.T) map[string]func() object {
	return map[string]func() object{
		"s3": func() object {
			u, err := url.Parse(started.Server(t, "s3", "FLOWSHIP_TEST_S3"))
			if err != nil {
				t.Fatal(err)
			}
			secret := os.Getenv("AWS_SECRET_ACCESS_KEY")
			return object{kind: "s3", secret: secret, flags: []string{"--bucket", u.Host, "--aws-credentials-block-name"}, fields: map[string]any{
				"aws_access_key_id": os.Getenv("AWS_ACCESS_KEY_ID"), "aws_secret_access_key": secret, "region_name": "us-east-1",
				"aws_client_parameters": map[string]any{"endpoint_url": u.Query().Get("endpoint")},
			}}
		},
		"gcs": func() object {
			u, err := url.Parse(started.Server(t, "gcs", "FLOWSHIP_TEST_GCS"))
			if err != nil {
				t.Fatal(err)
			}
			account, secret := serviceAccount(t)
			return object{kind: "gcs", secret: secret, flags: []string{"--bucket", u.Host, "--gcp-credentials-block-name"},
				fields: map[string]any{"service_account_info": account}, env: []string{"STORAGE_EMULATOR_HOST=http://" + os.Getenv("STORAGE_EMULATOR_HOST")}}
		},
		"azure": func() object {
			u, err := url.Parse(started.Server(t, "azure", "FLOWSHIP_TEST_AZURE"))
			if err != nil {
				t.Fatal(err)
			}
			account, secret := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY")
			text := fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=http://%s/%[1]s;", account, secret, u.Query().Get("domain"))
			return object{kind: "azure-blob-storage", secret: secret, flags: []string{"--container", u.Host, "--azure-blob-storage-credentials-block-name"},
				fields: map[string]any{"connection_string": text}}
		},
	}
}

// serviceAccount makes an account up, with a server that gives it tokens.
func serviceAccount(t *testing.T) (account map[string]any, secret string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}`)
	}))
	t.Cleanup(tokens.Close)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return map[string]any{
		"type": "service_account", "project_id": "test", "private_key_id": "1", "private_key": text,
		"client_email": "t@test.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokens.URL,
	}, strings.Split(text, "\n")[1]
}

// TestStockPrefect submits a flow with Prefect's own client to a work pool whose storage
// Prefect's own command configured, has Prefect's own worker run it, and flowship do what both
// would have Python do for the bundle.
func TestStockPrefect(t *testing.T) {
	ok := map[string]any{"sum": 42.0, "script": true}
	for _, test := range []struct {
		store      string
		parameters []string
		cancelled  int // the run that is cancelled; -1 for none
		want       []endedRun
	}{
		{"s3", []string{`{}`, `{"fail": true}`, `{"seconds": 120}`}, 2, []endedRun{
			{Type: "COMPLETED", Result: ok},
			{Type: "FAILED", Message: "Flow run encountered an exception: ValueError: as asked", Result: "ValueError('as asked')"},
			{Type: "CANCELLED", Message: "Flow run was cancelled successfully."},
		}},
		{"gcs", []string{`{}`}, -1, []endedRun{{Type: "COMPLETED", Result: ok}}},
		// The second one finds its files there already, which is where Prefect's own upload fails.
		{"azure", []string{`{}`, `{"seconds": 0.1}`}, -1, []endedRun{{Type: "COMPLETED", Result: ok}, {Type: "COMPLETED", Result: ok}}},
	} {
		t.Run(test.store, func(t *testing.T) {
			store := stores(t)[test.store]()
			s := newStock(t, store.env...)
			pool := "stock-" + test.store + "-" + strings.ToLower(rand.Text()[:8])
			s.run(t, store.fields, "../../testdata/flows/stock/blocks.py", store.kind, pool)
			s.createPool(t, pool)
			s.run(t, nil, append(append([]string{"-m", "prefect", "work-pool", "storage", "configure", store.kind, pool}, store.flags...), pool)...)
			stop := s.work(t, pool)
			cancelling := make(chan error, 1)
			got := s.submit(t, pool, func(n int, id string) {
				if n == test.cancelled {
					go func() { cancelling <- s.cancel(t.Context(), id) }()
				}
			}, test.parameters...)
			if test.cancelled >= 0 {
				if err := <-cancelling; err != nil {
					t.Error(err)
				}
			}
			s.wantNothingLeft(t)
			log := stop()
			for i := range got {
				if got[i].Type == "COMPLETED" {
					got[i].Message = ""
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("runs (-want +got):\n%s\n%s", diff, log)
			}
			if strings.Contains(log, store.secret) {
				t.Errorf("the worker's log holds the secret:\n%s", log)
			}
			s.wantClean(t, store.secret)
		})
	}
}
