package kubernetesinfra

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flowship/flowship/launch"
)

// watch waits for the end of one Job.
type watch struct {
	*record
	state
	patience    time.Duration
	podsKnown   bool
	begun       time.Time
	unanswered  map[string]time.Time // by resource, since when the API server has not answered for it
	ending      map[string]time.Time // by pod's UID, since when it is known that it is to end
	waiting     time.Time            // since when the pod could have started
	waitingPod  string               // its UID
	pullFailure string               // what the kubelet said first about an image that it could not pull

	logs   map[string]*logging // by pod's UID
	logged sync.WaitGroup
}

// logging is the output of a pod on its way.
type logging struct {
	ended chan struct{}
	over  bool
}

func newWatch(j *record, patience time.Duration) *watch {
	return &watch{
		record: j, patience: patience,
		state:      state{lost: map[string]bool{}, silent: map[string]bool{}},
		unanswered: map[string]time.Time{}, ending: map[string]time.Time{}, logs: map[string]*logging{},
	}
}

// check is how often it is looked at how long something has taken.
const check = 250 * time.Millisecond

// told is a change of one of the two kinds of objects.
type told struct {
	change
	resource string
}

const (
	jobs = "jobs"
	pods = "pods"
)

// run returns how the job ended, as a [launch.WatchFunc] does.
func (w *watch) run(ctx context.Context) (exit *launch.Exit, err error, final bool) {
	defer func() {
		if final {
			w.output = nil // the job is remembered, what it held need not be
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer func() {
		cancel()
		followers.Wait()
		w.logged.Wait()
	}()
	changes := make(chan told)
	for _, f := range []*follower{
		{api: w.cluster.batch, resource: jobs, selector: "fieldSelector", value: "metadata.name=" + w.name, list: func() runtime.Object { return &batchv1.JobList{} }},
		{api: w.cluster.core, resource: pods, selector: "labelSelector", value: labelJobName + "=" + w.name, list: func() runtime.Object { return &corev1.PodList{} }},
	} {
		f.namespace = w.namespace
		followers.Go(func() {
			f.follow(ctx, func(c change) {
				select {
				case changes <- told{c, f.resource}:
				case <-ctx.Done():
				}
			})
		})
	}
	tick := time.NewTicker(check)
	defer tick.Stop()
	w.begun = time.Now()
	w.waiting = w.begun
	for {
		select {
		case c := <-changes:
			if err := w.note(&c); err != nil {
				return nil, err, false
			}
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx), false
		}
		w.state.stopped = w.record.stopped.Load()
		w.abandon()
		w.follow(ctx)
		if exit, err := w.decide(ctx); exit != nil || err != nil {
			return w.conclude(ctx, exit, err)
		}
		if err := w.overdue(ctx); err != nil {
			return w.conclude(ctx, nil, err)
		}
	}
}

// note takes a change in. Its error is that the API server does not answer, or will not.
func (w *watch) note(c *told) error {
	if c.err != nil {
		if apierrors.IsForbidden(c.err) {
			return fmt.Errorf("its end is not known: %w", c.err)
		}
		now := time.Now()
		if w.unanswered[c.resource].IsZero() {
			w.unanswered[c.resource] = now
		}
		if now.Sub(w.unanswered[c.resource]) >= w.patience {
			return fmt.Errorf("its end is not known: %w", w.cluster.fault(c.err))
		}
		return nil
	}
	delete(w.unanswered, c.resource)
	if c.resource == jobs {
		w.noteJob(&c.change)
	} else {
		w.notePods(&c.change)
	}
	return nil
}

func (w *watch) noteJob(c *change) {
	if c.replace {
		w.gone = len(c.all) == 0
		for _, o := range c.all {
			w.takeJob(o)
		}
		return
	}
	w.gone = c.deleted
	w.takeJob(c.object)
}

// takeJob keeps the Job as it was, unless another one has got its name.
func (w *watch) takeJob(o runtime.Object) {
	job, ok := o.(*batchv1.Job)
	if !ok {
		return
	}
	if w.job != nil && w.job.UID != job.UID {
		w.gone = true
		return
	}
	w.job = job
}

func (w *watch) notePods(c *change) {
	if !c.replace {
		w.takePod(c.object, c.deleted)
		return
	}
	w.podsKnown = true
	there := map[string]bool{}
	for _, o := range c.all {
		if pod := w.takePod(o, false); pod != nil {
			there[string(pod.UID)] = true
		}
	}
	for _, pod := range w.pods {
		w.lost[string(pod.UID)] = !there[string(pod.UID)]
	}
}

func (w *watch) takePod(o runtime.Object, deleted bool) *corev1.Pod {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	w.lost[string(pod.UID)] = deleted
	for i, known := range w.pods {
		if known.UID == pod.UID {
			if podExit(known) == nil || podExit(pod) != nil { // how it ended is not forgotten
				w.pods[i] = pod
			}
			return pod
		}
	}
	w.pods = append(w.pods, pod)
	return pod
}

// follow has the output of pods passed on that have begun.
func (w *watch) follow(ctx context.Context) {
	if w.output == nil {
		return
	}
	for _, pod := range w.pods {
		uid := string(pod.UID)
		ended := podExit(pod) != nil || w.over(pod)
		l := w.logs[uid]
		if l == nil {
			s := mainStatus(pod)
			if s == nil || s.State.Running == nil && s.State.Terminated == nil || ended && s.State.Terminated == nil {
				continue
			}
			l = &logging{ended: make(chan struct{})}
			w.logs[uid] = l
			reader := &podLog{output: w.output, cluster: w.cluster, stopped: &w.record.stopped, namespace: w.namespace, pod: pod.Name, container: containerName(pod)}
			if ended {
				close(l.ended)
				l.over = true
			}
			w.logged.Go(func() { reader.run(ctx, l.ended) })
		}
		if ended && !l.over {
			close(l.ended)
			l.over = true
		}
	}
}

// decide returns how the job has ended, if it has.
func (w *watch) decide(ctx context.Context) (*launch.Exit, error) {
	if !w.podsKnown || w.job == nil && !w.gone {
		return nil, nil
	}
	exit, err := w.outcome()
	if exit == nil || exit.Code == 0 || w.gone || w.state.stopped {
		return exit, err
	}
	for _, pod := range w.pods {
		if pod.DeletionTimestamp == nil {
			continue
		}
		// Somebody deleted it: the Job, as it is now, knows whether that was its deadline.
		if job, err := w.cluster.getJob(ctx, w.namespace, w.name); isNotFound(err) {
			w.gone = true
		} else if err == nil {
			w.takeJob(job)
		}
		return w.outcome()
	}
	return exit, err
}

// conclude waits for the output, and removes what need not stay.
func (w *watch) conclude(ctx context.Context, exit *launch.Exit, err error) (*launch.Exit, error, bool) {
	for _, l := range w.logs {
		if !l.over {
			close(l.ended)
			l.over = true
		}
	}
	w.logged.Wait()
	if ctx.Err() != nil && exit == nil && err == nil {
		return nil, context.Cause(ctx), false
	}
	if w.secret {
		// It goes with the Job, but that may stay for long.
		if gone := w.cluster.deleteSecret(ctx, w.namespace, w.name); gone != nil && !apierrors.IsForbidden(gone) && exit != nil && ctx.Err() == nil {
			err = errors.Join(err, fmt.Errorf("its Secret stays as long as the Job: %w", w.cluster.fault(gone)))
		}
	}
	return exit, err, true
}
