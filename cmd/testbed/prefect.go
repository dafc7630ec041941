package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

//go:embed requirements.txt
var requirements string

// uvVersion is of the installer. pip, which installs it, would take minutes for the rest.
const uvVersion = "0.13.8"

// startPrefect starts Prefect's API server with an empty database.
func startPrefect(ctx context.Context, p *place) ([]string, error) {
	python, api, err := p.prefectServer(ctx)
	if err != nil {
		return nil, err
	}
	return []string{"FLOWSHIP_TEST_PYTHON=" + python, "FLOWSHIP_TEST_PREFECT_API=" + api}, nil
}

// startSecuredPrefect starts one that wants to know who asks, and that what changes something comes from there.
func startSecuredPrefect(ctx context.Context, p *place) ([]string, error) {
	auth := "testbed:" + rand.Text()
	_, api, err := p.prefectServer(ctx, "PREFECT_SERVER_CSRF_PROTECTION_ENABLED=true", "PREFECT_SERVER_API_AUTH_STRING="+auth)
	if err != nil {
		return nil, err
	}
	return []string{"FLOWSHIP_TEST_PREFECT_SECURED=" + api, "FLOWSHIP_TEST_PREFECT_AUTH=" + auth}, nil
}

// prefectServer installs Prefect from PyPI and starts its API server with these settings.
func (p *place) prefectServer(ctx context.Context, settings ...string) (python, api string, err error) {
	python, err = p.prefectPython(ctx)
	if err != nil {
		return "", "", err
	}
	port, err := freePort()
	if err != nil {
		return "", "", err
	}
	server := fmt.Sprintf("http://127.0.0.1:%d", port)
	api = server + "/api"
	// The services only look after what nobody tests here, and keep SQLite busy: clients then get 503 again and again.
	cmd := exec.Command(python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--no-ui", "--no-services")
	cmd.Env = append(withoutPrefect(os.Environ()),
		"PREFECT_HOME="+filepath.Join(p.dir, "home"),
		"PREFECT_SERVER_ANALYTICS_ENABLED=false",
		"PREFECT_SERVER_UI_ENABLED=false",
		"PREFECT_SERVER_LOGGING_LEVEL=WARNING",
		"PREFECT_LOGGING_LEVEL=WARNING",
		"PREFECT_CLI_PROMPT=false",
		"DO_NOT_TRACK=1",
	)
	cmd.Env = append(cmd.Env, settings...)
	return python, api, p.serve(ctx, "prefect server", cmd, server, 2*time.Minute, answering(api+"/health"))
}

// withoutPrefect drops the user's own Prefect settings from an environment.
func withoutPrefect(env []string) []string {
	var rest []string
	for _, e := range env {
		if !strings.HasPrefix(e, "PREFECT_") {
			rest = append(rest, e)
		}
	}
	return rest
}

// prefectPython returns the interpreter of an environment with the requirements.
func (p *place) prefectPython(ctx context.Context) (string, error) {
	python, identity, err := p.basePython(ctx)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(requirements + uvVersion + identity))
	dir, err := p.installed(ctx, fmt.Sprintf("prefect-%x", key[:8]), func(dir string) error {
		if _, err := tool(ctx, nil, python, "-m", "venv", dir); err != nil {
			return err
		}
		if _, err := tool(ctx, nil, inVenv(dir, "python"), "-m", "pip", "install", "--quiet", "uv=="+uvVersion); err != nil {
			return err
		}
		list := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(list, []byte(requirements), 0o600); err != nil {
			return err
		}
		_, err := tool(ctx, nil, inVenv(dir, "uv"), "pip", "install", "--quiet", "--python", inVenv(dir, "python"), "--compile-bytecode", "-r", list)
		return err
	})
	return inVenv(dir, "python"), err
}

func inVenv(dir, program string) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(dir, "Scripts", program+".exe")
	}
	return filepath.Join(dir, "bin", program)
}

// basePython finds a Python that can make environments; identity changes when such an environment would no longer work.
func (p *place) basePython(ctx context.Context) (python, identity string, err error) {
	python, identity, err = probePython(ctx)
	if err == nil || ctx.Err() != nil {
		return python, identity, err
	}
	if !canAptInstall() {
		return "", "", fmt.Errorf("%w; install Python 3.10 or newer with its venv module (on Debian: apt-get install python3 python3-venv)", err)
	}
	if err := p.aptInstall(ctx, "python3", "python3-venv"); err != nil {
		return "", "", err
	}
	return probePython(ctx)
}

func probePython(ctx context.Context) (python, identity string, err error) {
	name := "python3"
	if runtime.GOOS == "windows" {
		name = "python"
	}
	python, err = exec.LookPath(name)
	if err != nil {
		return "", "", errors.New("no Python found")
	}
	out, err := tool(ctx, nil, python, "-c", "import ensurepip, sys, venv; assert sys.version_info >= (3, 10), 'is older than Python 3.10'; print(sys.base_prefix, sys.version)")
	if err != nil {
		return "", "", fmt.Errorf("%q is not usable: %w", python, err)
	}
	return python, string(out), nil
}
