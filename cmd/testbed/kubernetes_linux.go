package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// kubernetesServer is a cluster in a place. Its program is the module in the folder kubernetes.
type kubernetesServer struct {
	*place
	program string
	address string // https://…
	token   string // of the administrator
	cgroup  string // below which all pods are
	http    *http.Client
}

// startKubernetes starts a cluster of one node. Its processes are in a PID namespace and end with its first; its mounts are in a namespace
// of their own.
func startKubernetes(ctx context.Context, p *place) ([]string, error) {
	if os.Geteuid() != 0 {
		return nil, &unavailableError{"only root can start a Kubernetes cluster"}
	}
	if err := p.installPrograms(ctx, "containers need containerd", []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip"}, "docker.io", "iproute2"); err != nil {
		return nil, err
	}
	if err := tryMounts(ctx); ctx.Err() != nil {
		return nil, err
	} else if err != nil {
		return nil, &unavailableError{"a Kubernetes cluster needs namespaces and mounts of its own: " + lastLine(err)}
	}
	s := &kubernetesServer{place: p, token: strings.ToLower(rand.Text()), http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is made when the server starts
	}}}
	var err error
	if s.program, err = p.kubernetesProgram(ctx); err != nil {
		return nil, err
	}
	if err := s.ownCgroup(ctx); err != nil {
		return nil, err
	}
	if err := s.configure(ctx); err != nil {
		return nil, err
	}
	if err := s.writeImages(ctx); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.program, "serve", p.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	loaded := false
	ready := func(ctx context.Context) bool {
		loaded = loaded || s.loadImages(ctx) == nil
		return loaded && s.ready(ctx)
	}
	err = p.serve(ctx, "kubernetes", cmd, s.address, 3*time.Minute, ready)
	if err == nil {
		err = s.try(ctx)
	}
	if ctx.Err() != nil {
		return nil, err
	} else if err != nil {
		p.say("kubernetes: %v\n%v", err, s.logs())
		return nil, &unavailableError{"a Kubernetes cluster does not work here: " + lastLine(err)}
	}
	return []string{"FLOWSHIP_TEST_KUBECONFIG=" + filepath.Join(p.dir, "admin.kubeconfig"), fmt.Sprintf("FLOWSHIP_TEST_KUBERNETES_PID=%d", cmd.Process.Pid)}, nil
}

// tryMounts does for a moment what the cluster's first process does.
func tryMounts(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "sh", "-ec", "mount -t proc proc /proc; mount -t tmpfs tmpfs /run; mount --bind /dev/null /proc/sys/kernel/panic")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return lines[len(lines)-1]
}

// try runs a pod that does nothing: a node may be ready on a machine where no container can run.
func (s *kubernetesServer) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const pods = "/api/v1/namespaces/default/pods"
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"try"},"spec":{"restartPolicy":"Never","terminationGracePeriodSeconds":0,
		"containers":[{"name":"try","image":%q,"imagePullPolicy":"Never","command":["true"]}]}}`, dockerImage)
	if err := s.call(ctx, http.MethodPost, pods, body, nil); err != nil {
		return err
	}
	defer s.call(context.WithoutCancel(ctx), http.MethodDelete, pods+"/try", "", nil)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var pod struct {
		Status struct {
			Phase             string
			ContainerStatuses []struct{ State any }
		}
	}
	for {
		if err := s.call(ctx, http.MethodGet, pods+"/try", "", &pod); err == nil && pod.Status.Phase == "Succeeded" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("a pod does not run: it is %s, %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		if pod.Status.Phase == "Failed" {
			return fmt.Errorf("a pod does not run: %v", pod.Status.ContainerStatuses)
		}
	}
}

// kubernetesProgram builds the program, which takes minutes, once for its sources.
func (p *place) kubernetesProgram(ctx context.Context) (string, error) {
	out, err := tool(ctx, nil, "go", "list", "-f", "{{.Dir}}", "github.com/flowship/flowship/cmd/testbed")
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(string(out)), "kubernetes")
	sum := sha256.New()
	files, err := filepath.Glob(filepath.Join(source, "*"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(file), len(content), content)
	}
	environment := []string{"GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=", "CGO_ENABLED=0"}
	dir, err := p.installed(ctx, "kubernetes-"+hex.EncodeToString(sum.Sum(nil)[:8]), func(dir string) error {
		if !p.named {
			return &unavailableError{"it takes minutes to build, once: testbed -servers kubernetes true"}
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		version, err := tool(ctx, environment, "go", "list", "-C", source, "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
		if err != nil {
			return err
		}
		// The parts compare each other's versions, which come from the linker.
		v := strings.TrimSpace(string(version))
		number := strings.Split(strings.TrimPrefix(v, "v"), ".")
		if len(number) < 3 {
			return fmt.Errorf("k8s.io/kubernetes has the version %q", v)
		}
		const in = "k8s.io/component-base/version"
		flags := fmt.Sprintf("-s -w -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X k8s.io/client-go/pkg/version.gitVersion=%s", in, v, in, number[0], in, number[1], v)
		_, err = tool(ctx, environment, "nice", "go", "build", "-C", source, "-trimpath", "-ldflags", flags, "-o", filepath.Join(dir, "kubernetes"), ".")
		return err
	})
	return filepath.Join(dir, "kubernetes"), err
}

// loadImages puts the images into containerd.
func (s *kubernetesServer) loadImages(ctx context.Context) error {
	_, err := tool(ctx, nil, "ctr", "--address", s.containerd(), "--namespace", "k8s.io", "images", "import", filepath.Join(s.dir, "images.tar"))
	return err
}

func (s *kubernetesServer) containerd() string { return filepath.Join(s.dir, "containerd.sock") }

// call asks the API server, and decodes its answer.
func (s *kubernetesServer) call(ctx context.Context, method, path, body string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.address+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, said)
	case into == nil:
		return nil
	}
	return json.Unmarshal(said, into)
}

// ready reports whether the node takes pods.
func (s *kubernetesServer) ready(ctx context.Context) bool {
	var node struct {
		Spec struct {
			Taints []any
		}
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if s.call(ctx, http.MethodGet, "/readyz", "", nil) != nil || s.call(ctx, http.MethodGet, "/api/v1/nodes/"+nodeName, "", &node) != nil || len(node.Spec.Taints) > 0 ||
		s.call(ctx, http.MethodGet, "/api/v1/namespaces/default/serviceaccounts/default", "", nil) != nil {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// logs are the ends of the parts' logs, as an error.
func (s *kubernetesServer) logs() error {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		return err
	}
	var all []error
	for _, file := range files {
		all = append(all, fmt.Errorf("%s:\n%s", filepath.Base(file), lastLines((&daemon{log: file}).tail())))
	}
	return errors.Join(all...)
}

// lastLines are enough to see what is wrong with one part of several.
func lastLines(log []byte) []byte {
	lines := bytes.Split(log, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-4):], []byte("\n"))
}

// cgroupPrefix begins the names of testbeds' cgroups.
const cgroupPrefix = "fstest-kube-"

// ownCgroup makes a cgroup in all hierarchies. A file in the cache that is locked as long as this testbed lives has its name; cgroups whose
// file nobody locks were left by killed testbeds, and go first.
func (s *kubernetesServer) ownCgroup(ctx context.Context) error {
	marks, err := filepath.Glob(filepath.Join(s.cache, cgroupPrefix+"*.lock"))
	if err != nil {
		return err
	}
	for _, mark := range marks {
		f, err := os.OpenFile(mark, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if ok, err := tryLock(f); ok && err == nil && removeCgroup(strings.TrimSuffix(filepath.Base(mark), ".lock")) == nil {
			os.Remove(mark)
		}
		f.Close()
	}
	s.cgroup = cgroupPrefix + strings.ToLower(rand.Text()[:8])
	mark := filepath.Join(s.cache, s.cgroup+".lock")
	unlock, err := lock(ctx, mark, func() {})
	if err != nil {
		return err
	}
	s.atEnd(func() {
		if removeCgroup(s.cgroup) == nil {
			os.Remove(mark)
		}
		unlock()
	})
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := os.Mkdir(filepath.Join(root, s.cgroup), 0o755); err != nil {
			return &unavailableError{"no cgroup can be made for a Kubernetes cluster: " + err.Error()}
		}
	}
	return nil
}

// hierarchies are the roots of cgroups: one in version 2, one for each controller in version 1.
func hierarchies() ([]string, error) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, e := range entries {
		if e.IsDir() { // the others are second names
			roots = append(roots, filepath.Join(root, e.Name()))
		}
	}
	if len(roots) == 0 {
		return nil, &unavailableError{"a Kubernetes cluster needs cgroups, and there are none"}
	}
	return roots, nil
}

// removeCgroup removes a cgroup with all below it, once its processes have ended.
func removeCgroup(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		top := filepath.Join(root, name)
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			var dirs []string
			filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := range dirs {
				os.Remove(dirs[len(dirs)-1-i]) // those below come later in the walk
			}
			if _, err := os.Stat(top); errors.Is(err, os.ErrNotExist) {
				break
			} else if time.Now().After(deadline) {
				return fmt.Errorf("the cgroup %s stays", top)
			}
		}
	}
	return nil
}
