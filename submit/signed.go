package submit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// How a job gets at the stores of its bundle and its record: values of the job variable
// "storage_access", which every work pool has.
const (
	// AccessAmbient, the default: the job has credentials of its own.
	AccessAmbient = "ambient"
	// AccessSigned: who launches the job signs URLs for what this run has to get and to put, and
	// hands them to it in its environment. They last for the time limit of all attempts and an
	// hour; without a time limit for 12 hours, which is as long as temporary credentials of AWS can
	// last. URLs that such credentials have signed end with them, however long they were to last.
	AccessSigned = "signed"
)

const (
	signedMargin  = time.Hour          // until the job runs, and for its end
	signedDefault = 12 * time.Hour     // of a run without a time limit
	signedLongest = 7 * 24 * time.Hour // that S3 and Google Cloud Storage sign for
)

// accessOf is what the job variables say.
func accessOf(variables map[string]any) (string, error) {
	switch value := variables[worker.StorageAccess]; value {
	case nil:
		return AccessAmbient, nil
	case AccessAmbient, AccessSigned:
		return value.(string), nil
	default:
		return "", &InvalidError{fmt.Sprintf("job variable %q: want %q or %q, got %q", worker.StorageAccess, AccessAmbient, AccessSigned, fmt.Sprint(value))}
	}
}

// forTemplate are the variables that the base job template has to know; nil is any.
func forTemplate(template *launch.Template, variables map[string]any) map[string]any {
	variables = maps.Clone(variables)
	delete(variables, worker.StorageAccess)
	if template == nil || !template.Declares(worker.Platform) {
		delete(variables, worker.Platform)
	}
	return variables
}

// variablesOf are the run's job variables, as they are kept.
func variablesOf(run *orchestrator.FlowRun) (variables map[string]any, err error) {
	if len(run.JobVariables) > 0 {
		err = json.Unmarshal(run.JobVariables, &variables)
	}
	if err != nil {
		return nil, fmt.Errorf("job variables: %w", err)
	}
	return variables, nil
}

// signable refuses a submission whose stores cannot sign what its job will need.
func (s *submission) signable(ctx context.Context) error {
	s.signedElsewhere()
	access, err := accessOf(s.variables)
	if err != nil || access != AccessSigned {
		return err
	}
	expiry := s.signedFor()
	if expiry > signedLongest {
		return &InvalidError{fmt.Sprintf("signed URLs last %v at most, and all attempts of the run may take %v", signedLongest, expiry-signedMargin)}
	}
	for _, url := range []string{s.bucket.URL(), s.Results} {
		if url == "" {
			continue
		}
		if strings.HasPrefix(url, "file:") {
			return &InvalidError{fmt.Sprintf("job variable %q: the store %q is a folder: a folder needs no signed access", worker.StorageAccess, url)}
		}
		b, err := s.openStore(ctx, url)
		if err != nil {
			return err
		}
		if _, err := b.Sign(ctx, "bundle", http.MethodGet, expiry); err != nil {
			return err
		}
	}
	return nil
}

// signedFor is how long the URLs of the run are to last.
func (s *submission) signedFor() time.Duration {
	if s.Timeout == 0 {
		return signedDefault
	}
	attempts := float64(s.Retries+1)*s.Timeout.Seconds() + float64(s.Retries)*s.RetryDelay.Seconds()
	if attempts > 2*signedLongest.Seconds() { // far too long, and no more for a Duration
		return 2 * signedLongest
	}
	return time.Duration(attempts*float64(time.Second)) + signedMargin
}

// access signs the URLs that the run's job is to have, if it is to have any.
func (c *Client) access(ctx context.Context, run *orchestrator.FlowRun) ([]string, error) {
	variables, err := variablesOf(run)
	if err != nil {
		return nil, err
	}
	access, err := accessOf(variables)
	if err != nil || access != AccessSigned {
		return nil, err
	}
	signed, err := c.sign(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("signed access: %w", bare(err))
	}
	text, err := json.Marshal(signed)
	if err != nil {
		return nil, err
	}
	return []string{execute.EnvSigned + "=" + string(text)}, nil
}

func (c *Client) sign(ctx context.Context, run *orchestrator.FlowRun) (*execute.Signed, error) {
	var note submissionNote
	if err := json.Unmarshal(run.Submission, &note); err != nil {
		return nil, fmt.Errorf("what is remembered of the submission: %w", err)
	}
	expiry := cmp.Or(time.Duration(note.Signed), signedDefault)
	bundles, err := c.openStore(ctx, run.Bundle.URL)
	if err != nil {
		return nil, err
	}
	records, err := c.openStore(ctx, cmp.Or(run.Results, run.Bundle.URL))
	if err != nil {
		return nil, err
	}
	s := &execute.Signed{Get: map[string]string{}, Put: map[string]string{}}
	for _, key := range []string{run.Bundle.Key, run.Bundle.FilesKey, note.Program} {
		if key == "" {
			continue
		}
		if s.Get[key], err = bundles.Sign(ctx, key, http.MethodGet, expiry); err != nil {
			return nil, err
		}
	}
	key := execute.RecordKey(run.ID)
	if s.Put[key], err = records.Sign(ctx, key, http.MethodPut, expiry); err != nil {
		return nil, err
	}
	return s, nil
}
