package submit

import (
	"io"

	"github.com/flowship/flowship/submit/orchestrator"
)

// backend is where flow runs live.
type backend interface {
	orchestrator.Creator
	orchestrator.StateSetter
	orchestrator.Reader
	orchestrator.StateReader
	orchestrator.Finder
	orchestrator.Deleter
	orchestrator.Leaser
	orchestrator.LossEnder
	orchestrator.Launched
	orchestrator.Queue
	orchestrator.LogWriter
	orchestrator.LogReader
	orchestrator.WorkPoolReader
	orchestrator.WorkPoolWriter
	orchestrator.WorkerRegistry
	io.Closer
}
