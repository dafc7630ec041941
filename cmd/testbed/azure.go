package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const azuriteVersion = "3.37.0"

// The account that every azurite has, with its published key.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// startAzure installs azurite from npm and starts its blob service.
func startAzure(ctx context.Context, p *place) ([]string, error) {
	node, script, err := p.azurite(ctx)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(node, script, "--silent", "--disableTelemetry", "--skipApiVersionCheck",
		"--location", filepath.Join(p.dir, "blobs"), "--blobHost", "127.0.0.1", "--blobPort", fmt.Sprint(port))
	made := func(ctx context.Context) bool { return makeContainer(ctx, address, bucketName) == nil }
	if err := p.serve(ctx, "azurite", cmd, "http://"+address, time.Minute, made); err != nil {
		return nil, err
	}
	query := url.Values{"protocol": {"http"}, "domain": {address}, "localemu": {"true"}}
	return []string{
		"FLOWSHIP_TEST_AZURE=azblob://" + bucketName + "?" + query.Encode(),
		"AZURE_STORAGE_ACCOUNT=" + azureAccount, "AZURE_STORAGE_KEY=" + azureKey,
	}, nil
}

func (p *place) azurite(ctx context.Context) (node, script string, err error) {
	if node, err = nodeAndNPM(); err != nil && canAptInstall() {
		if err := p.aptInstall(ctx, "nodejs", "npm"); err != nil {
			return "", "", err
		}
		node, err = nodeAndNPM()
	}
	if err != nil {
		return "", "", err
	}
	dir, err := p.installed(ctx, "azurite-"+azuriteVersion, func(dir string) error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		_, err := tool(ctx, nil, "npm", "install", "--silent", "--no-audit", "--no-fund", "--no-update-notifier", "--prefix", dir, "azurite@"+azuriteVersion)
		return err
	})
	return node, filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js"), err
}

func nodeAndNPM() (node string, err error) {
	node, err = exec.LookPath("node")
	if err == nil {
		_, err = exec.LookPath("npm")
	}
	if err != nil {
		return "", errors.New("no Node.js with npm found; install it (on Debian: apt-get install nodejs npm)")
	}
	return node, nil
}

// makeContainer makes a container, with a request that is signed with the account's key as the service's documentation describes.
func makeContainer(ctx context.Context, address, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	path := "/" + azureAccount + "/" + name
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+address+path+"?restype=container", nil)
	if err != nil {
		return err
	}
	const version = "2021-12-02"
	date := time.Now().UTC().Format(http.TimeFormat)
	req.Header.Set("x-ms-date", date)
	req.Header.Set("x-ms-version", version)
	// Eleven standard headers, all empty, stand between the method and the service's own.
	text := "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:" + date + "\nx-ms-version:" + version + "\n/" + azureAccount + path + "\nrestype:container"
	key, err := base64.StdEncoding.DecodeString(azureKey)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	req.Header.Set("Authorization", "SharedKey "+azureAccount+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("make container %q: %s", name, resp.Status)
	}
	return nil
}
