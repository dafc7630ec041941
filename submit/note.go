package submit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// A folder does not keep the digest of an object with it. A note in the state directory does,
// for a sidecar or program that this home has stored or proven. It saves reading it in order to
// name its bytes. What happens to them afterwards the executor notices; then the note says so,
// see [Client.distrust].

// note is named after what the object's key is made of: the digest of the files, that of the
// program.
func (c *Client) note(digest bundle.Digest) string {
	return filepath.Join(c.path("sidecars"), digest.Hex())
}

// recall returns what the note says, or nil when there is none.
func (c *Client) recall(digest bundle.Digest) *bundle.Archive {
	b, err := os.ReadFile(c.note(digest))
	if err != nil {
		return nil
	}
	var sum string
	a := &bundle.Archive{}
	if _, err := fmt.Sscanf(string(b), "%s %d\n", &sum, &a.Size); err != nil {
		return nil
	}
	if a.SHA256, err = bundle.ParseDigest(sum); err != nil {
		return nil
	}
	return a
}

// remember writes the note, unless it says the same already.
func (u *upload) remember(digest bundle.Digest, what *bundle.Archive) error {
	if a := u.recall(digest); a != nil && *a == *what {
		return nil
	}
	text := fmt.Sprintf("%s %d\n", what.SHA256, what.Size)
	path := filepath.Join(u.tmp, "note")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	note := u.note(digest)
	if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := os.Rename(path, note); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}

// distrust has the notes say that an executor refused the objects: the next run reads what is
// stored, and replaces it if need be.
func (c *Client) distrust(run *orchestrator.FlowRun) error {
	var digests []bundle.Digest
	if run.Bundle.FilesKey != "" {
		digest, err := bundle.ParseFilesKey(run.Bundle.FilesKey)
		if err != nil {
			return err
		}
		digests = append(digests, digest)
	}
	var note submissionNote
	if err := json.Unmarshal(run.Submission, &note); err != nil {
		return err
	}
	if note.Program != "" {
		digest, err := bundle.ParseProgramKey(note.Program)
		if err != nil {
			return err
		}
		digests = append(digests, digest)
	}
	for _, digest := range digests {
		note := c.note(digest)
		if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(note, []byte(doubt), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// doubt is the note of an object that an executor refused.
const doubt = "doubted\n"

// doubted reports whether the note says that the object was refused.
func (c *Client) doubted(digest bundle.Digest) bool {
	b, err := os.ReadFile(c.note(digest))
	return err == nil && string(b) == doubt
}
