package kubernetesinfra

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/flowship/flowship/launch"
)

// follower tells what becomes of the objects that a selector finds: first all of them, then each
// change. When the API server has forgotten where it was, it begins again with all of them; until
// then, no change is missed and none told twice.
type follower struct {
	api                 rest.Interface
	namespace, resource string
	selector, value     string // "fieldSelector" or "labelSelector"
	list                func() runtime.Object
}

// change is what a follower has to tell.
type change struct {
	all     []runtime.Object // if replace
	replace bool
	object  runtime.Object
	deleted bool
	err     error // the API server did not answer, or refused
}

// follow tells until ctx ends.
func (f *follower) follow(ctx context.Context, tell func(change)) {
	pause := launch.Pause{}
	for ctx.Err() == nil {
		all, version, err := f.all(ctx)
		if err != nil {
			tell(change{err: err})
			pause.Wait(ctx)
			continue
		}
		tell(change{all: all, replace: true})
		for ctx.Err() == nil {
			begun := time.Now()
			next, err := f.watch(ctx, version, tell)
			if errors.Is(err, errExpired) {
				break
			}
			if err != nil {
				tell(change{err: err})
			}
			if next != version || time.Since(begun) > time.Minute {
				pause = launch.Pause{}
			}
			version = next
			pause.Wait(ctx)
		}
	}
}

func (f *follower) request() *rest.Request {
	// It is asked again here; client-go would do so in silence for half a minute.
	return f.api.Get().MaxRetries(0).Namespace(f.namespace).Resource(f.resource).Param(f.selector, f.value)
}

// all lists the objects.
func (f *follower) all(ctx context.Context) ([]runtime.Object, string, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	list := f.list()
	if err := f.request().Do(ctx).Into(list); err != nil {
		return nil, "", err
	}
	all, err := meta.ExtractList(list)
	if err != nil {
		return nil, "", err
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, "", err
	}
	return all, m.GetResourceVersion(), nil
}

// errExpired: the API server does not know any more what came after the version.
var errExpired = errors.New("too old")

// watch tells what changes after a version of the cluster, and returns the version up to which
// everything was told.
func (f *follower) watch(ctx context.Context, version string, tell func(change)) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The server ends a watch after a while; a connection that is dead unnoticed ends with it.
	const seconds = "300"
	timer := time.AfterFunc(6*time.Minute, cancel)
	defer timer.Stop()
	w, err := f.request().Param("watch", "true").Param("allowWatchBookmarks", "true").
		Param("resourceVersion", version).Param("timeoutSeconds", seconds).Watch(ctx)
	if err != nil {
		return version, expired(err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == apiwatch.Error {
			return version, expired(apierrors.FromObject(event.Object))
		}
		m, err := meta.Accessor(event.Object)
		if err != nil {
			return version, err
		}
		version = m.GetResourceVersion()
		switch event.Type {
		case apiwatch.Added, apiwatch.Modified:
			tell(change{object: event.Object})
		case apiwatch.Deleted:
			tell(change{object: event.Object, deleted: true})
		}
	}
	return version, nil
}

func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if s := status.Status(); s.Code == http.StatusGone || s.Reason == metav1.StatusReasonExpired {
			return errExpired
		}
	}
	return err
}
