package kubernetesinfra

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flowship/flowship/launch"
)

// Ends that a healthy cluster does not show.
func TestOutcome(t *testing.T) {
	const (
		job      = `{"spec":{"backoffLimit":0}}`
		again    = `{"spec":{"backoffLimit":2}}`
		deleted  = `{"metadata":{"deletionTimestamp":"2026-01-02T03:04:05Z"},"spec":{"backoffLimit":0}}`
		complete = `{"spec":{"backoffLimit":0},"status":{"conditions":[{"type":"Complete","status":"True"}]}}`
		limit    = `{"spec":{"backoffLimit":2},"status":{"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded","message":"Job has reached the specified backoff limit"}]}}`
		deadline = `{"spec":{"backoffLimit":0,"activeDeadlineSeconds":7},"status":{"conditions":[{"type":"FailureTarget","status":"True","reason":"DeadlineExceeded","message":"x"}]}}`
		started  = `{"spec":{"backoffLimit":0,"activeDeadlineSeconds":7},"status":{"startTime":"2026-01-02T03:04:00Z"}}`

		running  = `{"metadata":{"uid":"1"},"spec":{"restartPolicy":"Never","containers":[{"name":"prefect-job"}]},"status":{"phase":"Running"}}`
		pending  = `{"metadata":{"uid":"2"},"status":{"phase":"Pending"}}`
		killed   = `{"metadata":{"uid":"3"},"spec":{"restartPolicy":"Never","containers":[{"name":"prefect-job"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"prefect-job","state":{"terminated":{"exitCode":137,"reason":"Error"}}}]}}`
		late     = `{"metadata":{"uid":"7","deletionTimestamp":"2026-01-02T03:04:37Z","deletionGracePeriodSeconds":30},"status":{"phase":"Failed"}}`
		early    = `{"metadata":{"uid":"7","deletionTimestamp":"2026-01-02T03:04:36Z","deletionGracePeriodSeconds":30},"status":{"phase":"Failed"}}`
		evicted  = `{"metadata":{"uid":"4"},"status":{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory. "}}`
		tainted  = `{"metadata":{"uid":"5"},"spec":{"restartPolicy":"Never","containers":[{"name":"prefect-job"}]},"status":{"phase":"Running","conditions":[{"type":"DisruptionTarget","status":"True","reason":"DeletionByTaintManager","message":"Taint manager: deleting due to NoExecute taint"}]}}`
		without  = `{"metadata":{"uid":"8"},"spec":{"restartPolicy":"Never","containers":[{"name":"prefect-job"}]},"status":{"phase":"Failed","containerStatuses":[{"name":"prefect-job","state":{"terminated":{"exitCode":128,"reason":"StartError","message":"exec: \"/usr/local/bin/flowship\": stat /usr/local/bin/flowship: no such file or directory"}}}]}}`
		restarts = `{"metadata":{"uid":"6"},"spec":{"restartPolicy":"OnFailure","containers":[{"name":"prefect-job"}]},"status":{"phase":"Running","containerStatuses":[{"name":"prefect-job","state":{"terminated":{"exitCode":1}}}]}}`
	)
	for _, test := range []struct {
		name    string
		job     string
		gone    bool
		pods    []string
		lost    string // UID
		stopped bool
		exit    *launch.Exit
		err     string
	}{
		{name: "nothing yet", job: job},
		{name: "running", job: job, pods: []string{running}},
		{name: "another pod after one that failed", job: again, pods: []string{killed, pending}},
		{name: "none yet after one that failed", job: again, pods: []string{killed}},
		{name: "no more after one that failed", job: limit, pods: []string{killed}, exit: &launch.Exit{Code: 137}},
		{name: "a container starts again", job: job, pods: []string{restarts}},
		{name: "evicted without a trace of the container", job: job, pods: []string{evicted}, exit: &launch.Exit{Code: 137, Signal: 9, Reason: "Evicted: The node was low on resource: memory."}},
		{name: "no executor", job: job, pods: []string{without}, exit: &launch.Exit{Code: 128, Reason: `the image has no executor: "flowship image build" makes one with "/usr/local/bin/flowship"`}},
		{name: "the node was lost", job: job, pods: []string{tainted}, lost: "5", err: "the pod was deleted before its end was known: DeletionByTaintManager: Taint manager: deleting due to NoExecute taint"},
		{name: "the node was lost and there is another", job: again, pods: []string{tainted, running}, lost: "5"},
		{name: "deadline", job: deadline, pods: []string{killed}, exit: &launch.Exit{Code: 137, Reason: "its deadline of 7 s was exceeded"}},
		{name: "deadline, which the Job does not say yet", job: started, pods: []string{late}, exit: &launch.Exit{Code: 137, Signal: 9, Reason: "its deadline of 7 s was exceeded"}},
		{name: "deleted before its deadline", job: started, pods: []string{early}, exit: &launch.Exit{Code: 137, Signal: 9, Reason: "the pod was deleted by somebody else"}},
		{name: "deadline before there is a pod", job: deadline, err: "the Job failed: DeadlineExceeded: x"},
		{name: "complete, pods unseen", job: complete, exit: &launch.Exit{}},
		{name: "deleted", job: deleted, pods: []string{killed}, exit: &launch.Exit{Code: 137, Reason: "the Job was deleted by somebody else"}},
		{name: "gone, its pod goes on for a moment", job: job, gone: true, pods: []string{running}},
		{name: "gone", job: job, gone: true, pods: []string{running}, lost: "1", err: "the Job was deleted before its end was known"},
		{name: "gone before there was a pod", job: job, gone: true, err: "the Job was deleted before its end was known"},
		{name: "stopped", job: job, gone: true, pods: []string{killed}, stopped: true, exit: &launch.Exit{Code: 137}},
		{name: "stopped before it began", job: job, gone: true, pods: []string{pending}, lost: "2", stopped: true, exit: &launch.Exit{Code: 143, Signal: 15, Reason: "it was stopped before it began"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := state{job: &batchv1.Job{}, gone: test.gone, lost: map[string]bool{test.lost: true}, stopped: test.stopped}
			if err := json.Unmarshal([]byte(test.job), s.job); err != nil {
				t.Fatal(err)
			}
			for _, source := range test.pods {
				pod := &corev1.Pod{}
				if err := json.Unmarshal([]byte(source), pod); err != nil {
					t.Fatal(err)
				}
				s.pods = append(s.pods, pod)
			}
			exit, err := s.outcome()
			if diff := cmp.Diff(test.exit, exit); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			said := ""
			if err != nil {
				said = err.Error()
			}
			if diff := cmp.Diff(test.err, said); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever a Job and its pods are like, there is at most one answer, and no panic.
func FuzzOutcome(f *testing.F) {
	f.Add([]byte(`{"status":{"conditions":[{"type":"Failed","status":"True"}]}}`), []byte(`{"status":{"phase":"Failed","initContainerStatuses":[{"name":"a","state":{"terminated":{"exitCode":3,"message":"m"}}}]}}`), false)
	f.Add([]byte(`{"spec":{"backoffLimit":1}}`), []byte(`{"status":{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}]}}`), true)
	f.Fuzz(func(t *testing.T, job, pod []byte, gone bool) {
		s := state{job: &batchv1.Job{}, gone: gone, lost: map[string]bool{}}
		p := &corev1.Pod{}
		if json.Unmarshal(job, s.job) != nil || json.Unmarshal(pod, p) != nil {
			return
		}
		s.pods = []*corev1.Pod{p}
		if exit, err := s.outcome(); exit != nil && err != nil {
			t.Errorf("%+v and %v", exit, err)
		}
		if o := obstacleOf(p); o != nil && o.why == "" && o.definite {
			t.Error("an obstacle without a reason")
		}
		var event corev1.Event
		if json.Unmarshal(pod, &event) == nil {
			news([]corev1.Event{event})
		}
	})
}
