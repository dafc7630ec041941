package kubernetesinfra

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flowship/flowship/launch"
)

// settle is how long it may take to undo something.
const settle = time.Minute

// Start implements [launch.Driver]. What the API server warns of is noted on the job's standard
// error.
func (d *Driver) Start(ctx context.Context, job *launch.Job) (string, error) {
	p, err := d.plan(job)
	if err != nil {
		return "", err
	}
	c, err := d.connect(p.config)
	if err != nil {
		return "", err
	}
	p.mark(strings.ToLower(rand.Text()))
	j := &record{cluster: c, namespace: p.namespace, limits: p.limits, output: p.output, secret: len(p.secrets) > 0}
	if job.Known != nil {
		job.Known(p.namespace + ":" + p.jobName())
	}
	created, err := p.create(ctx, c)
	if err == nil && j.secret {
		err = p.keep(ctx, c, created)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if created != nil {
		j.name = created.Name
	}
	if err == nil {
		d.jobs.Add(j.id(), j)
		err = d.jobs.Begin(j.id()) // unless the driver is closed
	}
	if err != nil {
		return "", errors.Join(err, p.undo(ctx, c))
	}
	return j.id(), nil
}

func (j *record) id() string { return j.namespace + ":" + j.name }

// mark makes the job one of a kind. Its name is chosen here and not by the API server, so that a
// request whose answer was lost can be made again.
func (p *plan) mark(token string) {
	metadata := p.manifest["metadata"].(map[string]any)
	template := p.manifest["spec"].(map[string]any)["template"].(map[string]any)
	for _, m := range []map[string]any{metadata, template["metadata"].(map[string]any)} {
		m["labels"].(map[string]any)[LabelJob] = token
	}
	metadata["annotations"].(map[string]any)[annotationLimits] = p.limits.String()
	if p.base != "" {
		metadata["name"] = p.base + token[:10]
	}
	name := p.jobName()
	containers := template["spec"].(map[string]any)["containers"].([]any)
	env, _ := containers[0].(map[string]any)["env"].([]any)
	for _, v := range env {
		entry, _ := v.(map[string]any)
		from, _ := entry["valueFrom"].(map[string]any)
		if ref, ok := from["secretKeyRef"].(map[string]any); ok && ref["name"] == nil {
			ref["name"] = name
		}
	}
}

func (p *plan) jobName() string {
	name, _ := p.manifest["metadata"].(map[string]any)["name"].(string)
	return name
}

func (p *plan) token() string {
	labels, _ := p.manifest["metadata"].(map[string]any)["labels"].(map[string]any)
	token, _ := labels[LabelJob].(string)
	return token
}

// attempts is how often something is asked for that may have failed on the way only.
const attempts = 4

// again says whether a request may be made again, after a while.
func again(ctx context.Context, err error, n int) bool {
	var status apierrors.APIStatus
	passing := !errors.As(err, &status) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
	if !passing || n+1 >= attempts || ctx.Err() != nil {
		return false
	}
	select {
	case <-time.After(250 * time.Millisecond << n):
		return true
	case <-ctx.Done():
		return false
	}
}

// create makes the Job. A request does not end with ctx: the Job might be made all the same.
func (p *plan) create(ctx context.Context, c *cluster) (*batchv1.Job, error) {
	body, err := json.Marshal(p.manifest)
	if err != nil {
		return nil, fmt.Errorf("job_manifest: %w", err)
	}
	for n := 0; ; n++ {
		job := &batchv1.Job{}
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
		result := c.batch.Post().MaxRetries(0).Namespace(p.namespace).Resource("jobs").SetHeader("Content-Type", "application/json").Body(body).Do(once)
		err := result.Into(job)
		cancel()
		if err == nil {
			for _, w := range result.Warnings() {
				fmt.Fprintf(p.notes, "kubernetes: %s\n", w.Text)
			}
			return job, nil
		}
		if n > 0 && apierrors.IsAlreadyExists(err) {
			if job, err := c.getJob(ctx, p.namespace, p.jobName()); err == nil && job.Labels[LabelJob] == p.token() {
				return job, nil // the answer to the first request was lost
			}
		}
		if !again(ctx, err, n) {
			return nil, fmt.Errorf("create a Job in the namespace %q: %w", p.namespace, c.because(ctx, err))
		}
	}
}

// keep makes the Secret. It comes after the Job, to which it belongs from the beginning, so that
// nothing can leave it behind; a pod that is faster waits for it.
func (p *plan) keep(ctx context.Context, c *cluster, job *batchv1.Job) error {
	yes := true
	secret := &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Name: job.Name, Namespace: job.Namespace, Labels: map[string]string{LabelJob: p.token()},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID}},
		},
		Immutable: &yes, StringData: p.secrets, Type: corev1.SecretTypeOpaque,
	}
	for n := 0; ; n++ {
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
		err := c.core.Post().MaxRetries(0).Namespace(p.namespace).Resource("secrets").Body(secret).Do(once).Error()
		cancel()
		if err == nil || n > 0 && apierrors.IsAlreadyExists(err) {
			return nil
		}
		if !again(ctx, err, n) {
			return fmt.Errorf("create a Secret in the namespace %q: %w", p.namespace, c.because(ctx, err))
		}
	}
}

// undo deletes the Job of a job that did not start, if there is one: what came of a request is
// not always known.
func (p *plan) undo(ctx context.Context, c *cluster) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	job, err := c.getJob(ctx, p.namespace, p.jobName())
	if err != nil || job.Labels[LabelJob] != p.token() {
		return nil // there is an error already
	}
	if err := c.deleteJob(ctx, p.namespace, job.Name); err != nil {
		return fmt.Errorf("the Job %q is left behind: %w", job.Name, err)
	}
	return nil
}
