package local_test

import (
	"path/filepath"
	"testing"

	"github.com/flowship/flowship/submit/orchestrator/orchestratortest"
)

func TestConformance(t *testing.T) {
	orchestratortest.Run(t, func(t *testing.T) orchestratortest.Backend {
		return open(t, filepath.Join(t.TempDir(), "db"))
	}, nil)
}
