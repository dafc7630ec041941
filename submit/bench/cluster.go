package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"
)

// kubernetes times direct calls on the cluster, also those that do not end well.
func (y *yard) kubernetes(ctx context.Context) error {
	if err := y.prepareCluster(ctx); err != nil {
		return err
	}
	c, err := newCluster(os.Getenv("FLOWSHIP_TEST_KUBECONFIG"))
	if err != nil {
		return err
	}
	run := []string{y.flowship, "run", "--pool", "cluster", "-v", "image=" + y.image, "-v", "finished_job_ttl=60"}
	do := append(run, "--", "true")
	rounds := y.rounds/2 + 1
	took, plain, err := y.pair(rounds, func() error { return y.must(ctx, do...) }, func() error { return c.runJobs(ctx, 1, y.image) })
	if err != nil {
		return err
	}
	y.added("`run --pool cluster -- true`, the same Job made and waited for", took, plain)
	late, err := y.late(ctx, rounds, append(run, "--")...)
	if err != nil {
		return err
	}
	y.alone("from the end of a pod with exit code 7 to that of `run`", late, "")
	const jobs = 30
	took, plain, err = y.pair(3, func() error { return y.atOnce(ctx, jobs, do...) }, func() error { return c.runJobs(ctx, jobs, y.image) })
	if err != nil {
		return err
	}
	y.rows = append(y.rows, []string{fmt.Sprintf("%d of them at once, %d Jobs", jobs, jobs), ms(took), ms(plain), fmt.Sprintf("%.2f times", took.Seconds()/plain.Seconds())})
	nosuch := []string{y.flowship, "run", "--pool", "cluster", "-v", "image=" + strings.Replace(y.image, "busybox", "nosuch", 1), "--", "true"}
	if err := y.crashes(ctx, "a missing image, `pod_watch_timeout_seconds` being 60", nosuch...); err != nil {
		return err
	}
	return y.crashes(ctx, "no node has room, `pod_watch_timeout_seconds=5`", append(run, "-v", "pod_watch_timeout_seconds=5", "-v", `cpu_request="1000"`, "--", "true")...)
}

// prepareCluster makes an image with the executor in it, and a work pool whose pods reach the
// object store of this machine.
func (y *yard) prepareCluster(ctx context.Context) error {
	registry, store := os.Getenv("FLOWSHIP_TEST_REGISTRY"), os.Getenv("FLOWSHIP_TEST_S3")
	if registry == "" || store == "" || os.Getenv("FLOWSHIP_TEST_DOCKER") == "" {
		return errors.New("for Kubernetes, the servers docker, registry and s3 are needed as well")
	}
	bucket, err := url.Parse(store)
	if err != nil {
		return err
	}
	y.image = registry + "/bench/busybox:1"
	saved, template := filepath.Join(y.dir, "busybox.tar"), filepath.Join(y.dir, "job.json")
	if err := y.must(ctx, "docker", "save", base, "-o", saved); err != nil {
		return err
	}
	if err := y.must(ctx, y.flowship, "image", "build", "--base", saved, "-t", y.image, "--push"); err != nil {
		return err
	}
	code, text, stderr, err := y.command(ctx, y.flowship, "work-pool", "get-default-base-job-template", "--type", "kubernetes")
	if err != nil || code != 0 {
		return fmt.Errorf("get-default-base-job-template: exit code %d, %w\n%s", code, err, stderr)
	}
	const never = `"restartPolicy": "Never"`
	if err := os.WriteFile(template, []byte(strings.Replace(text, never, never+`, "hostNetwork": true`, 1)), 0o600); err != nil {
		return err
	}
	if err := y.must(ctx, y.flowship, "work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", template); err != nil {
		return err
	}
	return y.must(ctx, y.flowship, "work-pool", "storage", "configure", "s3", "cluster", "--bucket", bucket.Host)
}

// atOnce runs a command so many times at once.
func (y *yard) atOnce(ctx context.Context, n int, argv ...string) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = y.must(ctx, argv...) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// crashes notes how long a command takes that cannot end well, and what it says.
func (y *yard) crashes(ctx context.Context, what string, argv ...string) error {
	begin := time.Now()
	code, _, stderr, err := y.command(ctx, argv...)
	if err != nil || code == 0 {
		return fmt.Errorf("%s: exit code %d, %w", strings.Join(argv, " "), code, err)
	}
	said, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	_, why, _ := strings.Cut(said, "the pod does not start: ")
	if why == "" {
		return fmt.Errorf("%s: it says %q", what, said)
	}
	y.alone(what, time.Since(begin), strings.ReplaceAll(strings.ReplaceAll(why, y.image, "IMAGE"), "|", `\|`))
	return nil
}

// cluster is asked as kubectl asks.
type cluster struct {
	address, token string
	trust          *tls.Config
}

func newCluster(kubeconfig string) (*cluster, error) {
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	var file struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority string `json:"certificate-authority"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Token string `json:"token"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	if len(file.Clusters) != 1 || len(file.Users) != 1 {
		return nil, fmt.Errorf("%q is not testbed's", kubeconfig)
	}
	pem, err := os.ReadFile(file.Clusters[0].Cluster.Authority)
	if err != nil {
		return nil, err
	}
	c := &cluster{address: file.Clusters[0].Cluster.Server, token: file.Users[0].User.Token, trust: &tls.Config{RootCAs: x509.NewCertPool()}}
	c.trust.RootCAs.AppendCertsFromPEM(pem)
	return c, nil
}

// job is as flowship makes them, but for what is flowship's.
const job = `{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "plain-", "labels": {"bench": %q}}, "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 60,
	"template": {"spec": {"restartPolicy": "Never", "hostNetwork": true, "containers": [{"name": "main", "image": %q, "imagePullPolicy": "IfNotPresent", "command": ["true"]}]}}}}`

// runJobs makes so many Jobs at once, and waits for them as "kubectl wait" does, by a watch.
func (c *cluster) runJobs(ctx context.Context, n int, image string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.trust, MaxIdleConnsPerHost: n}, Timeout: 5 * time.Minute} // new ones, as those of a process
	defer client.CloseIdleConnections()
	token := fmt.Sprint(time.Now().UnixNano())
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			resp, err := c.ask(ctx, client, http.MethodPost, "", fmt.Appendf(nil, job, token, image))
			if err == nil {
				err = resp.Body.Close()
			}
			errs[i] = err
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	resp, err := c.ask(ctx, client, http.MethodGet, "?watch=true&labelSelector=bench%3D"+token, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	complete := map[string]bool{}
	for d := json.NewDecoder(resp.Body); len(complete) < n; {
		var event struct {
			Object struct {
				Metadata struct{ Name string }
				Status   struct {
					Conditions []struct{ Type, Status string }
				}
			}
		}
		if err := d.Decode(&event); err != nil {
			return err
		}
		for _, condition := range event.Object.Status.Conditions {
			switch {
			case condition.Status != "True":
			case condition.Type == "Complete":
				complete[event.Object.Metadata.Name] = true
			case condition.Type == "Failed":
				return fmt.Errorf("the plain Job %s failed", event.Object.Metadata.Name)
			}
		}
	}
	return nil
}

func (c *cluster) ask(ctx context.Context, client *http.Client, method, query string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.address+"/apis/batch/v1/namespaces/default/jobs"+query, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		resp.Body.Close()
		return nil, fmt.Errorf("%s: the API server answers %s", method, resp.Status)
	}
	return resp, nil
}
