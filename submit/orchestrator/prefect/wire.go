package prefect

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// The types of this file are what a server answers with. Newer ones say more, and older ones less:
// what is not understood is taken for not said.

// flowRun is a flow run as the server writes it.
type flowRun struct {
	ID             string                 `json:"id"`
	Created        moment                 `json:"created"`
	Name           string                 `json:"name"`
	FlowID         string                 `json:"flow_id"`
	DeploymentID   string                 `json:"deployment_id"`
	WorkPool       string                 `json:"work_pool_name"`
	Version        string                 `json:"flow_version"`
	Parameters     json.RawMessage        `json:"parameters"`
	Policy         policy                 `json:"empirical_policy"`
	Tags           []string               `json:"tags"`
	Labels         labels                 `json:"labels"`
	JobVariables   json.RawMessage        `json:"job_variables"`
	Infrastructure string                 `json:"infrastructure_pid"`
	RunCount       int                    `json:"run_count"`
	Expected       moment                 `json:"expected_start_time"`
	Started        moment                 `json:"start_time"`
	Ended          moment                 `json:"end_time"`
	StateType      orchestrator.StateType `json:"state_type"`
	StateName      string                 `json:"state_name"`
	State          *state                 `json:"state"`
}

type policy struct {
	Retries    number `json:"retries"`
	RetryDelay number `json:"retry_delay"` // in seconds
	RetryType  string `json:"retry_type"`
}

// retryInProcess is the type of a retry that is for the run's executor alone.
const retryInProcess = "in_process"

// state is a state as the server writes it.
type state struct {
	ID        string                 `json:"id"`
	Type      orchestrator.StateType `json:"type"`
	Name      string                 `json:"name"`
	Message   string                 `json:"message"`
	Timestamp moment                 `json:"timestamp"`
	Data      json.RawMessage        `json:"data"`
	Details   struct {
		Scheduled  moment `json:"scheduled_time"`
		Transition string `json:"transition_id"`
	} `json:"state_details"`
}

// atOnce is how much later than what it was scheduled for a state may be that the server scheduled
// for the present, because nothing else was asked for.
const atOnce = 5 * time.Second

// public is the state as callers know it: with the ID that its proposer gave it.
func (s *state) public() orchestrator.State {
	p := orchestrator.State{ID: s.Details.Transition, Type: s.Type, Name: s.Name, Message: s.Message, Timestamp: s.Timestamp.Time}
	if p.ID == "" {
		p.ID = s.ID
	}
	if data := bytes.TrimSpace(s.Data); len(data) > 0 && string(data) != "null" {
		p.Data = s.Data
	}
	if due := s.Details.Scheduled.Time; s.Type == orchestrator.TypeScheduled {
		if late := p.Timestamp.Sub(due); late < 0 || late > atOnce {
			p.Scheduled = due
		}
	}
	return p
}

// current is the state of the run. Who asks for a retry in the server's pages calls the state
// AwaitingRetry as well, but then the run is for anybody: it is Scheduled.
func (r *flowRun) current() orchestrator.State {
	s := orchestrator.State{Type: r.StateType, Name: r.StateName}
	if r.State != nil {
		s = r.State.public()
	}
	if s.AwaitsRetry() && r.Policy.RetryType != retryInProcess {
		s.Name = "Scheduled"
	}
	return s
}

// workPool is where the run waits for a worker, and whether that is there: of a pool that was
// deleted, only the label remains.
func (r *flowRun) workPool() (name string, there bool) {
	if r.WorkPool != "" {
		return r.WorkPool, true
	}
	return r.Labels[labelPool], false
}

// public is the run as callers know it, with the name of its flow.
func (r *flowRun) public(flow string) *orchestrator.FlowRun {
	run := &orchestrator.FlowRun{
		ID: r.ID, FlowID: r.FlowID, Flow: flow, Name: r.Name, Parameters: object(r.Parameters), Tags: r.Tags, Version: r.Version,
		Labels: r.Labels.users(), Bundle: r.Labels.bundle(), Results: r.Labels[labelResults],
		Submission: object(json.RawMessage(r.Labels[labelSubmission])), JobVariables: object(r.JobVariables),
		Infrastructure: r.Infrastructure, DeploymentID: r.DeploymentID,
		Policy:   orchestrator.Policy{Retries: int(r.Policy.Retries), RetryDelay: time.Duration(float64(r.Policy.RetryDelay) * float64(time.Second))},
		RunCount: r.RunCount, State: r.current(), Created: r.Created.Time,
	}
	run.WorkPool, _ = r.workPool()
	run.Priority, _ = strconv.Atoi(r.Labels[labelPriority])
	if run.Tags == nil {
		run.Tags = []string{}
	}
	if r.RunCount > 0 { // the server has a start for those as well that ended without one
		run.Started = r.Started.Time
	}
	if run.State.Type.Final() {
		run.Ended = r.Ended.Time
	}
	return run
}

// Labels of flow runs, for what the server has no field for.
const (
	labelPrefix     = "flowship."
	labelURL        = labelPrefix + "bundle.url"
	labelKey        = labelPrefix + "bundle.key"
	labelDigest     = labelPrefix + "bundle.digest"
	labelFilesKey   = labelPrefix + "bundle.files_key"
	labelResults    = labelPrefix + "results"
	labelSubmission = labelPrefix + "submission"
	labelPriority   = labelPrefix + "priority"
	labelPool       = labelPrefix + "pool"
	labelLease      = labelPrefix + "lease."
	labelDoubt      = labelPrefix + "doubt"
	labelClaim      = labelPrefix + "claim."
)

// labels are those of a flow run. What is no text becomes its JSON.
type labels map[string]string

func (l *labels) UnmarshalJSON(text []byte) error {
	var values map[string]json.RawMessage
	if json.Unmarshal(text, &values) != nil {
		return nil
	}
	*l = make(labels, len(values))
	for name, value := range values {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value)
		}
		(*l)[name] = s
	}
	return nil
}

// users are the labels that neither we nor the server gave.
func (l labels) users() map[string]string {
	users := maps.Clone(map[string]string(l))
	if users == nil {
		users = map[string]string{}
	}
	maps.DeleteFunc(users, func(name, _ string) bool {
		return strings.HasPrefix(name, labelPrefix) || strings.HasPrefix(name, "prefect.")
	})
	return users
}

func (l labels) bundle() orchestrator.Bundle {
	return orchestrator.Bundle{URL: l[labelURL], Key: l[labelKey], Digest: l[labelDigest], FilesKey: l[labelFilesKey]}
}

// addBundle adds what says where the bundle is.
func (l labels) addBundle(b orchestrator.Bundle, submission json.RawMessage) {
	for name, value := range map[string]string{
		labelURL: b.URL, labelKey: b.Key, labelDigest: b.Digest, labelFilesKey: b.FilesKey, labelSubmission: string(submission),
	} {
		if value != "" {
			l[name] = value
		}
	}
}

// have reports whether these are among the labels.
func (l labels) have(some map[string]string) bool {
	for name, value := range some {
		if l[name] != value {
			return false
		}
	}
	return true
}

// object is the text, or {} where that is no JSON object.
func object(text json.RawMessage) json.RawMessage {
	if !isObject(text) {
		return json.RawMessage("{}")
	}
	return text
}

// moment is a time; one that is not understood is zero.
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(text []byte) error {
	m.Time = time.Time{}
	var s string
	if json.Unmarshal(text, &s) != nil {
		return nil
	}
	// Without an offset it is one of UTC.
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			m.Time = t.UTC()
			break
		}
	}
	return nil
}

// number is one from 0 to a billion; what is none is 0.
type number float64

func (n *number) UnmarshalJSON(text []byte) error {
	*n = 0
	var f float64
	if json.Unmarshal(text, &f) == nil && f > 0 {
		*n = number(min(f, 1e9))
	}
	return nil
}

// uuidOf returns the id as the server writes it, or false if it is none of the server's.
func uuidOf(id string) (string, bool) {
	u, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.UUID{}.String()) {
		return "", false
	}
	return u.String(), true
}
