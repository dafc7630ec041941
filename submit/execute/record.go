package execute

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Record is what a run leaves beside its bundle, as JSON under [RecordKey].
type Record struct {
	ID       string             `json:"id"` // of the flow run
	State    orchestrator.State `json:"state"`
	ExitCode int                `json:"exit_code"` // as a shell would say it
	Result   json.RawMessage    `json:"result"`    // null without one
	Started  time.Time          `json:"started"`
	Ended    time.Time          `json:"ended"`
}

// maxResult is the size in bytes of the largest result.
const maxResult = 64 << 20

// RecordKey returns the key of a run's record.
func RecordKey(flowRunID string) string { return "results/" + flowRunID + ".json" }

func (r *Record) put(ctx context.Context, s *storage.Store) error {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // the result stays as it was written
	if err := e.Encode(r); err != nil {
		return err
	}
	b := buf.Bytes()
	// A run that is run again replaces it.
	_, err := s.Put(ctx, RecordKey(r.ID), bytes.NewReader(b), storage.PutOptions{Size: int64(len(b)), SHA256: sha256.Sum256(b), Replace: true})
	return err
}

// ReadRecord returns the record that a run left in the store, or storage.ErrNotFound.
func ReadRecord(ctx context.Context, s *storage.Store, flowRunID string) (*Record, error) {
	b, err := s.ReadAll(ctx, RecordKey(flowRunID), maxResult+1<<20)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("execute: record of flow run %q: %w", flowRunID, err)
	}
	if r.ID != flowRunID {
		return nil, fmt.Errorf("execute: record of flow run %q is of %q", flowRunID, r.ID)
	}
	return r, nil
}

// readResult returns what the command wrote for its result, or nil when it wrote none.
func readResult(path string) (json.RawMessage, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("is not a regular file (%v)", info.Mode())
	case info.Size() > maxResult:
		return nil, fmt.Errorf("has %d bytes, more than %d", info.Size(), maxResult)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, new(json.RawMessage)); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	return b, nil
}
