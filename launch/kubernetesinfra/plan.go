package kubernetesinfra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/flowship/flowship/launch"
)

// configuration is the job configuration of the kubernetes type. What else the job variables say
// is in the manifest already.
type configuration struct {
	Name                   string            `json:"name"`
	Env                    json.RawMessage   `json:"env"` // an object, or a list as in a manifest
	Labels                 map[string]string `json:"labels"`
	Annotations            map[string]string `json:"annotations"`
	Command                string            `json:"command"`
	Namespace              string            `json:"namespace"`
	JobManifest            json.RawMessage   `json:"job_manifest"`
	ClusterConfig          *clusterConfig    `json:"cluster_config"`
	JobWatchTimeoutSeconds *int64            `json:"job_watch_timeout_seconds"`
	PodWatchTimeoutSeconds *int64            `json:"pod_watch_timeout_seconds"`
	StreamOutput           *bool             `json:"stream_output"` // nil is true
}

// defaultStart is pod_watch_timeout_seconds unless the configuration says something else.
const defaultStart = time.Minute

// plan is a job as it is going to be started: what can be found wrong without the cluster was
// found before it was asked.
type plan struct {
	config    *clusterConfig
	namespace string
	manifest  map[string]any
	base      string            // of the Job's name; "" if the manifest has a whole one
	secrets   map[string]string // by key
	limits    limits
	output    *output   // nil without
	notes     io.Writer // for what whoever starts the job should know
}

var errNoFiles = errors.New("files cannot be copied into a pod or out of it; bundles come from a store that the job can reach")

func (d *Driver) plan(job *launch.Job) (*plan, error) {
	if len(job.Files)+len(job.Take) > 0 {
		return nil, errNoFiles
	}
	var c configuration
	if err := job.Configure(&c); err != nil {
		return nil, err
	}
	p := &plan{config: c.ClusterConfig, namespace: c.Namespace, limits: limits{start: defaultStart}, notes: job.Notes, secrets: map[string]string{}}
	if p.notes == nil {
		p.notes = io.Discard
	}
	for _, limit := range []struct {
		name string
		of   *int64
		into *time.Duration
	}{{"pod_watch_timeout_seconds", c.PodWatchTimeoutSeconds, &p.limits.start}, {"job_watch_timeout_seconds", c.JobWatchTimeoutSeconds, &p.limits.whole}} {
		if limit.of == nil {
			continue
		}
		if *limit.of <= 0 || *limit.of > int64(maxLimit/time.Second) {
			return nil, fmt.Errorf("%s: %d is no number of seconds above 0", limit.name, *limit.of)
		}
		*limit.into = time.Duration(*limit.of) * time.Second
	}
	if c.StreamOutput == nil || *c.StreamOutput {
		p.output = newOutput(job.Stdout, p.notes)
	}
	manifest, err := parseManifest(c.JobManifest)
	if err != nil {
		return nil, fmt.Errorf("job_manifest: %w", err)
	}
	return p, p.fill(d, job, &c, manifest)
}

const maxLimit = 100 * 365 * 24 * time.Hour

// fill makes the job's manifest of the configured one.
func (p *plan) fill(d *Driver, job *launch.Job, c *configuration, m *manifest) error {
	p.manifest = m.root
	if p.namespace == "" {
		p.namespace = "default"
	}
	if said, ok := m.metadata["namespace"].(string); ok && said != "" {
		p.namespace = said
	}
	m.metadata["namespace"] = p.namespace
	if !validName().MatchString(p.namespace) {
		return fmt.Errorf("%q is not the name of a namespace", p.namespace)
	}
	m.label(job.Labels, c.Labels, c.Annotations)
	p.name(job, c, m)
	if err := m.command(job, c.Command); err != nil {
		return err
	}
	configured, special, err := readEnv(c.Env)
	if err != nil {
		return err
	}
	set, _, err := job.Environment(configured)
	if err != nil {
		return err
	}
	m.env(job, set, special, configured, p.secrets)
	m.image(d.opts.Image)
	m.executor(d.opts.ExecutorImage)
	return nil
}

// name decides how the Job is called, but for the suffix that makes it unique.
func (p *plan) name(job *launch.Job, c *configuration, m *manifest) {
	// Without the job variable name, the template leaves nothing but the dash.
	said, _ := m.metadata["generateName"].(string)
	delete(m.metadata, "generateName")
	if name, ok := m.metadata["name"].(string); ok && name != "" {
		return
	}
	if said == "None-" || strings.Contains(said, "{{") { // as a null becomes text, and a name that was filled in since
		said = ""
	}
	for _, name := range []string{said, c.Name, job.Name, "prefect-job"} {
		if p.base = jobName(name); p.base != "" {
			break
		}
	}
	p.base += "-"
}

// decode reads JSON with its numbers as they are written.
func decode(source []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(source))
	d.UseNumber()
	return d.Decode(into)
}
