package kubernetesinfra

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster is a connection to an API server. It knows the two groups of types that are needed:
// with client-go's own clients, all types of Kubernetes would be linked in.
type cluster struct {
	batch, core rest.Interface
	http        *http.Client
	host        string
}

// clusterConfig is Prefect's block of that kind: what is in a kubeconfig file, and the name of one
// of its contexts. What it holds is nowhere printed.
type clusterConfig struct {
	Config  json.RawMessage `json:"config"`
	Context string          `json:"context_name"`
}

// connect returns the cluster of a configuration, nil for the driver's own. It need not answer.
func (d *Driver) connect(config *clusterConfig) (*cluster, error) {
	key := ""
	if config != nil {
		sum := sha256.Sum256(append([]byte(config.Context+"\x00"), config.Config...))
		key = hex.EncodeToString(sum[:])
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.jobs.Err(); err != nil {
		return nil, err
	}
	if c := d.clusters[key]; c != nil {
		return c, nil
	}
	loaded, err := d.load(config)
	if err != nil {
		return nil, err
	}
	c, err := newCluster(loaded)
	if err != nil {
		return nil, err
	}
	d.clusters[key] = c
	return c, nil
}

// load finds out where the cluster is.
func (d *Driver) load(config *clusterConfig) (*rest.Config, error) {
	if config != nil {
		return config.load()
	}
	if d.opts.Kubeconfig == "" && d.opts.Context == "" {
		inside, err := rest.InClusterConfig()
		if err == nil {
			return inside, nil
		} else if !errors.Is(err, rest.ErrNotInCluster) {
			return nil, fmt.Errorf("the cluster around this program: %w", err)
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = d.opts.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: d.opts.Context}
	loaded, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("no Kubernetes cluster is configured: there is neither a cluster_config nor a kubeconfig file")
	} else if err != nil {
		return nil, fmt.Errorf("the kubeconfig: %w", err)
	}
	return loaded, nil
}

func (c *clusterConfig) load() (*rest.Config, error) {
	source := []byte(c.Config)
	var text string
	if json.Unmarshal(source, &text) == nil { // a file's content as it is
		source = []byte(text)
	}
	config, err := clientcmd.Load(source)
	if err != nil {
		return nil, errors.New("cluster_config: it is not what a kubeconfig file holds") // the cause may show a credential
	}
	if _, ok := config.Contexts[c.Context]; !ok && c.Context != "" {
		return nil, fmt.Errorf("cluster_config: it has no context %q", c.Context)
	}
	loaded, err := clientcmd.NewNonInteractiveClientConfig(*config, c.Context, &clientcmd.ConfigOverrides{}, &clientcmd.ClientConfigLoadingRules{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cluster_config: %w", err)
	}
	return loaded, nil
}

func newCluster(config *rest.Config) (*cluster, error) {
	config = rest.CopyConfig(config)
	// A job makes about ten requests; client-go's default would let thirty jobs wait for a minute.
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "flowship"
	config.WarningHandler = rest.NoWarnings{} // what matters of them is told by Start
	config.Timeout = 0                        // watches last
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the Kubernetes cluster at %q: %w", config.Host, err)
	}
	types := runtime.NewScheme()
	c := &cluster{http: client, host: config.Host}
	for _, group := range []struct {
		version schema.GroupVersion
		add     func(*runtime.Scheme) error
		path    string
		into    *rest.Interface
	}{
		{corev1.SchemeGroupVersion, corev1.AddToScheme, "/api", &c.core},
		{batchv1.SchemeGroupVersion, batchv1.AddToScheme, "/apis", &c.batch},
	} {
		if err := group.add(types); err != nil {
			return nil, err
		}
		config := rest.CopyConfig(config)
		config.GroupVersion, config.APIPath = &group.version, group.path
		config.NegotiatedSerializer = serializer.NewCodecFactory(types).WithoutConversion()
		api, err := rest.RESTClientForConfigAndClient(config, client)
		if err != nil {
			return nil, fmt.Errorf("the Kubernetes cluster at %q: %w", config.Host, err)
		}
		*group.into = api
	}
	return c, nil
}

func (c *cluster) close() { c.http.CloseIdleConnections() }

func isNotFound(err error) bool { return apierrors.IsNotFound(err) }

// because is the cause of ctx, if it has ended, or else what the API server says.
func (c *cluster) because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.fault(err)
}

// fault names the cluster where it does not answer.
func (c *cluster) fault(err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) {
		return err
	}
	return fmt.Errorf("the Kubernetes cluster at %q does not answer: %w", c.host, err)
}

// answer is how long a request may take that is no watch.
const answer = 30 * time.Second

// retries is how often client-go asks again, a second later, where nobody else does.
const retries = 3

func (c *cluster) getJob(ctx context.Context, namespace, name string) (*batchv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	job := &batchv1.Job{}
	err := c.batch.Get().MaxRetries(retries).Namespace(namespace).Resource("jobs").Name(name).Do(ctx).Into(job)
	return job, err
}

// deleteJob deletes a Job and, by and by, all that belongs to it.
func (c *cluster) deleteJob(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	background := metav1.DeletePropagationBackground
	err := c.batch.Delete().Namespace(namespace).Resource("jobs").Name(name).Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(ctx).Error()
	if isNotFound(err) {
		return nil
	}
	return err
}

func (c *cluster) deleteSecret(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	err := c.core.Delete().Namespace(namespace).Resource("secrets").Name(name).Body(&metav1.DeleteOptions{}).Do(ctx).Error()
	if isNotFound(err) {
		return nil
	}
	return err
}

// labelJobName is on the pods of a Job; all versions of Kubernetes know it.
const labelJobName = "job-name"

func (c *cluster) pods(ctx context.Context, namespace, job string) (*corev1.PodList, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	list := &corev1.PodList{}
	err := c.core.Get().MaxRetries(0).Namespace(namespace).Resource("pods").Param("labelSelector", labelJobName+"="+job).Do(ctx).Into(list)
	return list, err
}

// stop deletes a Job, and its pods first: with the Job, they would get another grace period.
func (c *cluster) stop(ctx context.Context, namespace, name string, grace time.Duration) error {
	job, err := c.getJob(ctx, namespace, name)
	if err != nil && !isNotFound(err) {
		return c.because(ctx, err)
	}
	// Of a Job that was stopped before, pods may still be ending, which have less time now.
	if err == nil && job.Spec.BackoffLimit != nil && *job.Spec.BackoffLimit > 0 {
		// Otherwise there would be another pod in the place of the one that is stopped.
		err := c.batch.Patch(types.MergePatchType).Namespace(namespace).Resource("jobs").Name(name).
			Body([]byte(`{"spec":{"backoffLimit":0}}`)).Do(ctx).Error()
		if err != nil && !isNotFound(err) && !apierrors.IsForbidden(err) {
			return c.because(ctx, err)
		}
	}
	list, err := c.pods(ctx, namespace, name)
	if err != nil {
		return c.because(ctx, err)
	}
	seconds := int64(min(max(math.Ceil(grace.Seconds()), 1), math.MaxInt32))
	for _, pod := range list.Items {
		err := c.core.Delete().Namespace(namespace).Resource("pods").Name(pod.Name).
			Body(&metav1.DeleteOptions{GracePeriodSeconds: &seconds}).Do(ctx).Error()
		if err != nil && !isNotFound(err) && !apierrors.IsForbidden(err) {
			return c.because(ctx, err)
		}
	}
	if err := c.deleteJob(ctx, namespace, name); err != nil {
		return c.because(ctx, err)
	}
	return nil
}

// events are what the cluster has noted about an object.
func (c *cluster) events(ctx context.Context, namespace string, uid types.UID) ([]corev1.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	list := &corev1.EventList{}
	err := c.core.Get().MaxRetries(0).Namespace(namespace).Resource("events").Param("fieldSelector", "involvedObject.uid="+string(uid)).Do(ctx).Into(list)
	return list.Items, err
}

// log opens the output of a container, with a time before every line.
func (c *cluster) log(ctx context.Context, namespace, pod, container string, follow bool, since time.Time) (io.ReadCloser, error) {
	r := c.core.Get().MaxRetries(0).Namespace(namespace).Resource("pods").Name(pod).SubResource("log").
		Param("container", container).Param("timestamps", "true").Param("follow", strconv.FormatBool(follow))
	if !since.IsZero() {
		r = r.Param("sinceTime", since.UTC().Format(time.RFC3339))
	}
	return r.Stream(ctx)
}
