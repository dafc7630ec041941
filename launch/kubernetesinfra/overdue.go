package kubernetesinfra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// overdue returns an error when something has taken too long, or cannot come to a good end. Then
// the Job is deleted.
func (w *watch) overdue(ctx context.Context) error {
	if w.job == nil || w.gone || w.state.stopped || w.foreign {
		return nil
	}
	if w.limits.whole > 0 && time.Since(w.begun) >= w.limits.whole {
		err := fmt.Errorf("it did not end within %s and was stopped", w.limits.whole)
		return errors.Join(err, w.cluster.stop(ctx, w.namespace, w.name, stopGrace))
	}
	why := w.stuck(ctx)
	if why == "" {
		return nil
	}
	err := fmt.Errorf("the pod does not start: %s", why)
	if left := w.cluster.deleteJob(ctx, w.namespace, w.name); left != nil {
		err = errors.Join(err, fmt.Errorf("the Job is left behind: %w", w.cluster.fault(left)))
	}
	return err
}

// stopGrace is what a job gets that took too long.
const stopGrace = 30 * time.Second

// stuck says why the pod does not start, when that is certain or has lasted too long.
func (w *watch) stuck(ctx context.Context) string {
	now := time.Now()
	if w.job.Spec.Suspend != nil && *w.job.Spec.Suspend {
		w.waiting = now // whoever suspended it starts it
		return ""
	}
	var pod *corev1.Pod
	for _, p := range w.pods {
		if !w.over(p) && podExit(p) == nil {
			pod = p
		}
	}
	if pod == nil {
		if len(w.pods) > 0 || now.Sub(w.waiting) < w.limits.start {
			return ""
		}
		events, _ := w.cluster.events(ctx, w.namespace, w.job.UID)
		if what, bad := news(events); bad {
			return what
		}
		return fmt.Sprintf("there is none after %s", w.limits.start)
	}
	if pod.Status.Phase == corev1.PodRunning || pod.DeletionTimestamp != nil {
		w.waiting = now
		return ""
	}
	if w.waitingPod != string(pod.UID) {
		w.waitingPod, w.waiting = string(pod.UID), now
	}
	o := obstacleOf(pod)
	if o != nil && strings.HasPrefix(o.why, "ErrImagePull") {
		w.pullFailure = o.why
	}
	if o != nil && o.definite {
		return o.why
	}
	if now.Sub(w.waiting) < w.limits.start {
		return ""
	}
	events, _ := w.cluster.events(ctx, w.namespace, pod.UID)
	what, bad := news(events)
	switch {
	case o == nil && !bad: // it is pulling its image, perhaps
		w.waiting = now
		return ""
	case o == nil:
		return what
	case w.pullFailure != "" && strings.HasPrefix(o.why, "ImagePullBackOff") && !strings.Contains(o.why, "ErrImagePull"):
		return o.why + " after " + w.pullFailure
	}
	return o.why
}

// abandon gives up pods that have been told to end and have had more than their time: their node is
// gone, and until it comes back nobody says what became of them. The time is this machine's, since the
// cluster's clock may be another.
func (w *watch) abandon() {
	for _, pod := range w.pods {
		uid := string(pod.UID)
		if pod.DeletionTimestamp == nil {
			continue
		}
		since, ok := w.ending[uid]
		if !ok {
			since = time.Now()
			w.ending[uid] = since
		}
		most := w.limits.start
		if grace := pod.DeletionGracePeriodSeconds; grace != nil {
			most += time.Duration(*grace) * time.Second
		}
		w.silent[uid] = time.Since(since) >= most
	}
}
