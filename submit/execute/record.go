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

// maxResult is the size in bytes of the largest result. In the record it is no longer than it
// was written, and what stands around it is short: a state's message at most names a path.
const (
	maxResult = 64 << 20
	maxRecord = maxResult + 1<<20
)

// RecordKey returns the key of a run's record.
func RecordKey(flowRunID string) string { return "results/" + flowRunID + ".json" }

func (r *Record) put(ctx context.Context, s *storage.Store) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	// A run that is run again replaces it.
	_, err = s.Put(ctx, RecordKey(r.ID), bytes.NewReader(b), storage.PutOptions{Size: int64(len(b)), SHA256: sha256.Sum256(b), Replace: true})
	return err
}

// encode leaves the result's characters as the command wrote them: json.Marshal would write
// five bytes more for a "<", and might make a record that is too large to be read.
func (r *Record) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return b.Bytes(), err
}

// ReadRecord returns the record that a run left in the store, or storage.ErrNotFound.
func ReadRecord(ctx context.Context, s *storage.Store, flowRunID string) (*Record, error) {
	b, err := s.ReadAll(ctx, RecordKey(flowRunID), maxRecord)
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
