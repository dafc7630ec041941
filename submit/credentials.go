package submit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// blockOf reads a block by its type and its name.
func blockOf(ctx context.Context, client *prefect.Client, slug, name string) (*prefect.Block, error) {
	block, err := client.BlockDocument(ctx, slug, name)
	if errors.Is(err, orchestrator.ErrNotFound) {
		return nil, fmt.Errorf("block %q of type %q: %w", name, slug, ErrNoBlock)
	}
	return block, err
}

// ErrNoBlock: the Prefect server has no such block.
var ErrNoBlock = errors.New("there is no such block on the Prefect server")

// credentialsOf reads the fields of a block. What is wrong with them is said without them.
func credentialsOf(slug string, data []byte) (*storage.Credentials, error) {
	switch slug {
	case "aws-credentials":
		return awsCredentials(data)
	case "gcp-credentials":
		return googleCredentials(data)
	case "azure-blob-storage-credentials":
		return azureCredentials(data)
	}
	return nil, errors.New("holds no credentials of an object store")
}

// fields decodes the fields of a block into v.
func fields(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("its field %q is not what it should be", wrong.Field)
	}
	if err != nil {
		return errors.New("its fields are not JSON")
	}
	return nil
}

func awsCredentials(data []byte) (*storage.Credentials, error) {
	var f struct {
		AccessKeyID     string `json:"aws_access_key_id"`
		SecretAccessKey string `json:"aws_secret_access_key"`
		SessionToken    string `json:"aws_session_token"`
		Profile         string `json:"profile_name"`
		Region          string `json:"region_name"`
		Client          struct {
			Endpoint string          `json:"endpoint_url"`
			Verify   json.RawMessage `json:"verify"` // a boolean or a path
			CertFile string          `json:"verify_cert_path"`
		} `json:"aws_client_parameters"`
		Role       string                     `json:"assume_role_arn"`
		RoleParams map[string]json.RawMessage `json:"assume_role_kwargs"`
	}
	if err := fields(data, &f); err != nil {
		return nil, err
	}
	c := &storage.AWSCredentials{
		AccessKeyID: f.AccessKeyID, SecretAccessKey: f.SecretAccessKey, SessionToken: f.SessionToken,
		Profile: f.Profile, Region: f.Region, Endpoint: f.Client.Endpoint, CertFile: f.Client.CertFile,
	}
	switch verify := string(bytes.TrimSpace(f.Client.Verify)); verify {
	case "", "null", "true":
	case "false":
		c.SkipVerify = true
	default:
		if json.Unmarshal(f.Client.Verify, &c.CertFile) != nil {
			return nil, errors.New(`its field "aws_client_parameters.verify" is neither a boolean nor a path`)
		}
	}
	if f.Role != "" {
		role, err := awsRole(f.Role, f.RoleParams)
		if err != nil {
			return nil, err
		}
		c.Role = role
	}
	return &storage.Credentials{AWS: c}, nil
}

func awsRole(arn string, params map[string]json.RawMessage) (*storage.AWSRole, error) {
	role := &storage.AWSRole{ARN: arn}
	var seconds int64
	var policies []struct {
		ARN string `json:"arn"`
	}
	known := map[string]any{
		"RoleSessionName": &role.SessionName, "ExternalId": &role.ExternalID, "Policy": &role.Policy,
		"SourceIdentity": &role.SourceIdentity, "DurationSeconds": &seconds, "PolicyArns": &policies,
	}
	for name, value := range params {
		if string(value) == "null" {
			continue
		}
		into := known[name]
		if into == nil {
			return nil, fmt.Errorf("its field \"assume_role_kwargs.%s\" is not supported", name)
		}
		if json.Unmarshal(value, into) != nil {
			return nil, fmt.Errorf("its field \"assume_role_kwargs.%s\" is not what it should be", name)
		}
	}
	role.Duration = time.Duration(seconds) * time.Second
	for _, p := range policies {
		role.PolicyARNs = append(role.PolicyARNs, p.ARN)
	}
	return role, nil
}

func googleCredentials(data []byte) (*storage.Credentials, error) {
	var f struct {
		File string          `json:"service_account_file"`
		Info json.RawMessage `json:"service_account_info"` // an object, or its text
	}
	if err := fields(data, &f); err != nil {
		return nil, err
	}
	info := []byte(f.Info)
	if text := ""; json.Unmarshal(info, &text) == nil { // null is no text
		info = []byte(text)
	}
	switch {
	case f.File != "" && len(info) > 0:
		return nil, errors.New("it holds both a service account's file and the account itself")
	case f.File != "":
		var err error
		if info, err = readKey(f.File); err != nil {
			return nil, err
		}
	case len(info) == 0:
		return nil, nil
	}
	return &storage.Credentials{Google: &storage.GoogleCredentials{Key: info}}, nil
}

// readKey reads the file of a service account, which is short.
func readKey(path string) ([]byte, error) {
	path, err := expandHome(path)
	if err != nil {
		return nil, err
	}
	if stat, err := os.Stat(path); err != nil {
		return nil, err
	} else if !stat.Mode().IsRegular() || stat.Size() > 1<<20 {
		return nil, fmt.Errorf("%q is not the file of a service account", path)
	}
	return os.ReadFile(path)
}

func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && !os.IsPathSeparator(rest[0]) {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, rest), err
}

func azureCredentials(data []byte) (*storage.Credentials, error) {
	var f struct {
		ConnectionString string `json:"connection_string"`
		AccountURL       string `json:"account_url"`
		TenantID         string `json:"tenant_id"`
		ClientID         string `json:"client_id"`
		ClientSecret     string `json:"client_secret"`
	}
	if err := fields(data, &f); err != nil {
		return nil, err
	}
	c := storage.AzureCredentials(f)
	if c.ConnectionString == "" && c.AccountURL == "" {
		return nil, errors.New("it holds neither a connection string nor the account's URL")
	}
	return &storage.Credentials{Azure: &c}, nil
}
