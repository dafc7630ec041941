//go:build linux

// Command kubernetes is a whole Kubernetes cluster of one node, for tests, in one program.
//
//	kubernetes serve DIR
//
// runs etcd, containerd, the API server, the controllers, the scheduler and the kubelet, with what testbed has put into DIR: a file for
// each part with its arguments, one in a line. Each part is started again when it ends; on SIGHUP, the API server is.
//
// It is meant to be process 1 of a PID namespace, in a mount namespace of its own: then nothing that it started outlives it, and none of
// the mounts does. Files of the machine that the parts want to change are covered by copies.
//
// It is a module of its own: nothing that it needs becomes a dependency of flowship.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes serve DIR")
		os.Exit(2)
	}
	part := os.Args[1]
	os.Args = append([]string{part}, os.Args[2:]...)
	var command *cobra.Command
	switch part {
	case "serve":
		exit(serve(os.Args[1:]))
	case "etcd":
		exit(etcd(os.Args[1:]))
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	default:
		exit(fmt.Errorf("there is no part %q", part))
	}
	os.Exit(cli.Run(command))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubernetes:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
