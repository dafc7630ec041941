package kubernetesinfra

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flowship/flowship/launch"
)

// state is what is known of a job.
type state struct {
	job     *batchv1.Job // as it was seen last; nil before
	gone    bool         // the Job is not there any more
	pods    []*corev1.Pod
	lost    map[string]bool // pods, by UID, that are not there any more
	silent  map[string]bool // pods, by UID, of whose end nobody tells: see [watch.abandon]
	stopped bool            // by this program
}

// stopped before its end, as a shell says it.
const terminated = 128 + 15

// outcome says how the job has ended; neither of them as long as it has not, or as nobody knows.
func (s *state) outcome() (*launch.Exit, error) {
	var last *corev1.Pod
	under := false // a pod may still end
	for _, pod := range s.pods {
		if exit := podExit(pod); exit != nil {
			if exit.Code == 0 {
				return exit, nil
			}
			last = pod
		} else if !s.over(pod) {
			under = true
		} else if last == nil || podExit(last) == nil {
			last = pod
		}
	}
	if condition := s.condition(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet); condition != nil {
		return &launch.Exit{}, nil
	}
	failed := s.condition(batchv1.JobFailed, batchv1.JobFailureTarget)
	if under || last == nil && failed == nil && !s.gone || last != nil && failed == nil && !s.gone && s.triesAgain() {
		return nil, nil
	}
	if last != nil {
		if exit := podExit(last); exit != nil {
			exit.Reason = s.reason(last, exit.Reason)
			return exit, nil
		}
	}
	silent := ""
	if last != nil && s.silent[string(last.UID)] {
		silent = fmt.Sprintf("the pod was to end, and its node %q does not say that it has", last.Spec.NodeName)
	}
	switch {
	case s.stopped && silent != "":
		return &launch.Exit{Code: terminated, Signal: terminated - 128, Reason: silent}, nil
	case s.stopped:
		return &launch.Exit{Code: terminated, Signal: terminated - 128, Reason: "it was stopped before it began"}, nil
	case silent != "":
		return nil, errors.New(silent + because(disruption(last)))
	case failed != nil:
		return nil, fmt.Errorf("the Job failed: %s", describe(failed.Reason, failed.Message))
	case last != nil && !s.gone:
		return nil, fmt.Errorf("the pod was deleted before its end was known%s", because(disruption(last)))
	}
	return nil, errors.New("the Job was deleted before its end was known")
}

// over reports whether nothing more is heard of a pod.
func (s *state) over(pod *corev1.Pod) bool {
	return s.lost[string(pod.UID)] || s.silent[string(pod.UID)]
}

// triesAgain reports whether there may be another pod after one that failed.
func (s *state) triesAgain() bool {
	return s.job == nil || s.job.Spec.BackoffLimit == nil || *s.job.Spec.BackoffLimit > 0
}

// condition is the first of the conditions that the Job has.
func (s *state) condition(kinds ...batchv1.JobConditionType) *batchv1.JobCondition {
	if s.job == nil {
		return nil
	}
	for i, c := range s.job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && slices.Contains(kinds, c.Type) {
			return &s.job.Status.Conditions[i]
		}
	}
	return nil
}

// mainStatus is the status of the container that the job is about.
func mainStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	name := containerName(pod)
	for i, s := range pod.Status.ContainerStatuses {
		if s.Name == name {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

func containerName(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if c.Name == mainContainer {
			return c.Name
		}
	}
	if len(pod.Spec.Containers) > 0 {
		return pod.Spec.Containers[0].Name
	}
	return mainContainer
}

// podExit is how a pod's container ended, nil while it has not. Other containers of the pod may
// go on.
func podExit(pod *corev1.Pod) *launch.Exit {
	over := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	if s := mainStatus(pod); s != nil && s.State.Terminated != nil && (over || pod.Spec.RestartPolicy == corev1.RestartPolicyNever) {
		t := s.State.Terminated
		exit := &launch.Exit{Code: int(t.ExitCode), Signal: int(t.Signal)}
		if exit.Code != 0 {
			exit.Reason = containerReason(pod, t)
		}
		return exit
	}
	if !over {
		return nil
	}
	if pod.Status.Phase == corev1.PodSucceeded {
		return &launch.Exit{}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			why := fmt.Sprintf("the init container %q failed", s.Name)
			if s.Name == executorName {
				why += fmt.Sprintf(`, which copies the executor out of the image %q: that has to have %q and "cp"`, s.Image, imageFile)
			}
			if t.Message != "" {
				why += ": " + oneLine(t.Message)
			}
			return &launch.Exit{Code: int(t.ExitCode), Signal: int(t.Signal), Reason: why}
		}
	}
	// Nobody knows what became of the container: the node gave the pod up.
	return &launch.Exit{Code: 137, Signal: 9, Reason: describe(pod.Status.Reason, pod.Status.Message)}
}

// What the kubelet calls the end of a container that used up its memory, and that of one whose
// command is not there.
const (
	reasonOOM   = "OOMKilled"
	reasonStart = "StartError"
)

// containerReason is what the kubelet says about the end of a container.
func containerReason(pod *corev1.Pod, t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason == reasonOOM:
		for _, c := range pod.Spec.Containers {
			if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && c.Name == containerName(pod) {
				return fmt.Sprintf("killed because its memory limit of %s was reached", limit.String())
			}
		}
		return "killed because memory ran out"
	case pod.Status.Reason != "" || pod.Status.Message != "": // evicted, for instance
		return describe(pod.Status.Reason, pod.Status.Message)
	case t.Reason == reasonStart && strings.Contains(t.Message, imageFile+": no such file"):
		return fmt.Sprintf(`the image has no executor: "flowship image build" makes one with %q`, imageFile)
	case t.Message != "":
		return oneLine(t.Message)
	case t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed":
		return t.Reason
	}
	return ""
}

// reason adds to what the pod says what the Job and the cluster say about it.
func (s *state) reason(pod *corev1.Pod, said string) string {
	if s.stopped {
		return ""
	}
	if s.overDeadline(pod) {
		if s.job.Spec.ActiveDeadlineSeconds != nil {
			return fmt.Sprintf("its deadline of %d s was exceeded", *s.job.Spec.ActiveDeadlineSeconds)
		}
		return "its deadline was exceeded"
	}
	if said != "" {
		return said
	}
	if why := disruption(pod); why != "" {
		return why
	}
	switch {
	case s.gone || s.job != nil && s.job.DeletionTimestamp != nil:
		return "the Job was deleted by somebody else"
	case pod.DeletionTimestamp != nil:
		return "the pod was deleted by somebody else"
	}
	return ""
}

// overDeadline reports whether the Job's deadline ended the pod. The Job may say so only after
// the pod has ended; the pod's deletion, in whole seconds, is not before the deadline.
func (s *state) overDeadline(pod *corev1.Pod) bool {
	if c := s.condition(batchv1.JobFailed, batchv1.JobFailureTarget); c != nil {
		return c.Reason == batchv1.JobReasonDeadlineExceeded
	}
	if s.job == nil || s.job.Spec.ActiveDeadlineSeconds == nil || s.job.Status.StartTime == nil || pod.DeletionTimestamp == nil {
		return false
	}
	deleted := pod.DeletionTimestamp.Unix()
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		deleted -= *grace
	}
	return deleted >= s.job.Status.StartTime.Unix()+*s.job.Spec.ActiveDeadlineSeconds
}

// disruption is why the cluster took a pod away, if it did.
func disruption(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return describe(c.Reason, c.Message)
		}
	}
	return ""
}

// obstacle is why a pod does not start. Definite is one that does not get better.
type obstacle struct {
	why      string
	definite bool
}

// obstacleOf returns nil when a pod gets on, or has started.
func obstacleOf(pod *corev1.Pod) *obstacle {
	if pod.Status.Phase != corev1.PodPending && pod.Status.Phase != "" {
		return nil
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		w := s.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
		case "InvalidImageName", "ErrImageNeverPull":
			return &obstacle{describe(w.Reason, w.Message), true}
		default:
			return &obstacle{describe(w.Reason, w.Message), strings.Contains(w.Reason, "Image") && noImage(w.Message)}
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return &obstacle{describe(c.Reason, c.Message), false}
		}
	}
	return nil
}

// noImage reports whether a registry has said that there is no such image. That it cannot be
// reached, or wants other credentials, may change.
func noImage(message string) bool {
	message = strings.ToLower(message)
	for _, said := range []string{"not found", "manifest unknown", "name unknown", "repository does not exist"} {
		if strings.Contains(message, said) {
			return true
		}
	}
	return false
}

// news is the latest event, and whether it is bad.
func news(events []corev1.Event) (string, bool) {
	var latest *corev1.Event
	when := func(e *corev1.Event) int64 {
		return max(e.EventTime.UnixNano(), e.LastTimestamp.UnixNano(), e.FirstTimestamp.UnixNano(), e.CreationTimestamp.UnixNano())
	}
	for i := range events {
		if e := &events[i]; latest == nil || when(e) >= when(latest) {
			latest = e
		}
	}
	if latest == nil {
		return "", false
	}
	return describe(latest.Reason, latest.Message), latest.Type == corev1.EventTypeWarning
}

func describe(reason, message string) string {
	message = oneLine(message)
	switch {
	case message == "":
		return reason
	case reason == "" || strings.Contains(message, reason):
		return message
	}
	return reason + ": " + message
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// maxReason is as much of what a container or the cluster says as is passed on.
const maxReason = 1000

func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
