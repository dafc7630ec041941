package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nodeName is a name of this machine that everything finds: the API server asks the kubelet at it.
const nodeName = "localhost"

// pauseImage is what holds a pod together.
const pauseImage = "flowship-test:pause"

// configure writes what the parts of the cluster read.
func (s *kubernetesServer) configure(ctx context.Context) error {
	plugins, err := s.debianPackage(ctx, "containernetworking-plugins")
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	kubeletPort, err := freePort()
	if err != nil {
		return err
	}
	s.address = fmt.Sprintf("https://127.0.0.1:%d", port)
	public, private, err := keyPair()
	if err != nil {
		return err
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		resolv = nil // pods have no use for it
	}
	files := map[string]string{
		"sa.pub": public, "sa.key": private, "resolv.conf": string(resolv),
		"tokens.csv":              s.token + ",admin,admin,system:masters\n" + s.token + "-node,system:node:" + nodeName + ",node,system:nodes\n",
		"admin.kubeconfig":        s.kubeconfig(s.token),
		"node.kubeconfig":         s.kubeconfig(s.token + "-node"),
		"containerd.toml":         s.containerdConfig(plugins),
		"cni/10-testbed.conflist": s.network(),
	}
	kubelet, err := s.kubeletConfig(kubeletPort)
	if err != nil {
		return err
	}
	files["kubelet.json"] = kubelet
	for part, args := range map[string][]string{
		"etcd":       {s.dir},
		"containerd": {"--config", s.path("containerd.toml")},
		"kube-apiserver": {
			"--etcd-servers=unix://" + s.path("etcd.sock"), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
			"--cert-dir=" + s.path("pki"), "--service-cluster-ip-range=10.96.0.0/24", "--endpoint-reconciler-type=none",
			"--service-account-key-file=" + s.path("sa.pub"), "--service-account-signing-key-file=" + s.path("sa.key"),
			"--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=" + s.path("tokens.csv"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-preferred-address-types=Hostname", "--profiling=false",
		},
		// The plain role of the controllers may not publish the root certificates.
		"kube-controller-manager": {
			"--kubeconfig=" + s.path("admin.kubeconfig"), "--secure-port=0", "--leader-elect=false", "--profiling=false",
			"--root-ca-file=" + s.path("pki/apiserver.crt"), "--service-account-private-key-file=" + s.path("sa.key"),
		},
		"kube-scheduler": {"--kubeconfig=" + s.path("admin.kubeconfig"), "--secure-port=0", "--leader-elect=false"},
		"kubelet": {
			"--config=" + s.path("kubelet.json"), "--kubeconfig=" + s.path("node.kubeconfig"), "--root-dir=" + s.path("kubelet"),
			"--cert-dir=" + s.path("kubelet-pki"), "--hostname-override=" + nodeName,
		},
	} {
		files[part+".args"] = strings.Join(args, "\n")
	}
	for file, content := range files {
		path := s.path(file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *kubernetesServer) path(name string) string { return filepath.Join(s.dir, name) }

// keyPair is what service accounts' tokens are signed with.
func keyPair() (public, private string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})),
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), nil
}

func (s *kubernetesServer) kubeconfig(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: testbed, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: testbed, user: {token: %q}}]
contexts: [{name: testbed, context: {cluster: testbed, user: testbed}}]
current-context: testbed
`, s.address, s.path("pki/apiserver.crt"), token)
}

func (s *kubernetesServer) containerdConfig(plugins string) string {
	// Without CAP_SYS_RESOURCE, as in some containers, a lower oom_score_adj than one's own cannot be set.
	return fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = 0
[grpc]
  address = %q
[plugins]
  [plugins."io.containerd.internal.v1.opt"]
    path = %q
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "docker.io/library/%s"
    netns_mounts_under_state_dir = true
    restrict_oom_score_adj = true
    disable_apparmor = true
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = %q
      conf_dir = %q
    [plugins."io.containerd.grpc.v1.cri".containerd]
      snapshotter = "overlayfs"
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = false
`, s.path("containerd"), s.path("containerd-state"), s.containerd(), s.path("containerd-opt"), pauseImage,
		filepath.Join(plugins, "usr", "lib", "cni"), s.path("cni"))
}

// network gives each pod a wire to this machine, and nothing else.
func (s *kubernetesServer) network() string {
	return fmt.Sprintf(`{"cniVersion":"0.4.0","name":"testbed","plugins":[
 {"type":"ptp","ipam":{"type":"host-local","ranges":[[{"subnet":"10.88.%d.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}],"dataDir":%q}}]}
`, mathrand.IntN(256), s.path("addresses"))
}

func (s *kubernetesServer) kubeletConfig(port int) (string, error) {
	b, err := json.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "127.0.0.1", "port": port, "readOnlyPort": 0, "healthzPort": 0,
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": true}, "webhook": map[string]any{"enabled": false}},
		"authorization":  map[string]any{"mode": "AlwaysAllow"},
		"cgroupDriver":   "cgroupfs", "cgroupRoot": "/" + s.cgroup, "failCgroupV1": false, "failSwapOn": false,
		"containerRuntimeEndpoint": "unix://" + s.containerd(), "resolvConf": s.path("resolv.conf"),
		"imageGCHighThresholdPercent": 100, "containerLogMaxSize": "100Mi", "serializeImagePulls": false,
		// The machine is not only the cluster's: that it is full is nobody's business here.
		"evictionHard": map[string]any{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
		// How soon a pod is evicted that fills its volumes.
		"volumeStatsAggPeriod": "2s",
		"podLogsDir":           s.path("podlogs"), "makeIPTablesUtilChains": false, "volumePluginDir": s.path("plugins"),
	})
	return string(b), err
}

// writeImages writes an archive of the images.
func (s *kubernetesServer) writeImages(ctx context.Context) error {
	busybox, err := s.busybox(ctx)
	if err != nil {
		return err
	}
	root, err := busyboxRoot(ctx, busybox)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(root))), nil })
	if err != nil {
		return err
	}
	images := map[name.Tag]v1.Image{}
	for tag, config := range map[string]v1.Config{
		dockerImage: {Env: []string{"PATH=/bin", "FLOWSHIP_TEST_INHERITED=yes"}},
		pauseImage:  {Env: []string{"PATH=/bin"}, Entrypoint: []string{"/bin/sleep", "2147483647"}},
	} {
		image, err := mutate.AppendLayers(empty.Image, layer)
		if err != nil {
			return err
		}
		file, err := image.ConfigFile()
		if err != nil {
			return err
		}
		file = file.DeepCopy()
		file.Config, file.OS, file.Architecture, file.Created = config, "linux", runtime.GOARCH, v1.Time{Time: time.Unix(0, 0)}
		if image, err = mutate.ConfigFile(image, file); err != nil {
			return err
		}
		ref, err := name.NewTag(tag)
		if err != nil {
			return err
		}
		images[ref] = image
	}
	return tarball.MultiWriteToFile(s.path("images.tar"), images)
}
