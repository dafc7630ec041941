// Command testbed runs a command with the real servers that tests talk to.
//
//	go run ./cmd/testbed go test ./...
//
// starts the servers, runs go test with their addresses in its environment, stops the servers and exits with go test's code. What has
// to be installed first is kept in a cache directory ($FLOWSHIP_TESTBED_DIR, else flowship-testbed in the user's cache), so that
// only the first start takes long. Nothing else remains: neither a process nor a file, also when the command is interrupted or killed.
// Of a killed testbed, the directory and, if it started a Docker engine, an idle bridge are left; the next one removes the bridge.
//
//	-list         print the servers and what they give to the command, start nothing
//	-servers a,b  start only these
//
// The command is in the environment told, and tests read with package started,
//
//	FLOWSHIP_TEST_REQUIRED     1: a test that finds its server missing must fail, where it would otherwise be skipped;
//	                           not with -servers
//	FLOWSHIP_TEST_SERVERS      the names of the servers that were started, separated by commas: of these, none may be missing
//	FLOWSHIP_TEST_UNAVAILABLE  the names of those that this machine cannot have; never with -servers, which is then an error
//	FLOWSHIP_TEST_PYTHON       a Python interpreter that has Prefect
//	FLOWSHIP_TEST_PREFECT_API  the API URL of a Prefect server with an empty database
//	FLOWSHIP_TEST_PREFECT_SECURED
//	                           the same of a server that wants the user and password in FLOWSHIP_TEST_PREFECT_AUTH, and
//	                           a token with each request that changes something
//	FLOWSHIP_TEST_S3           the URL of an empty bucket, as storage.Open takes it, of an S3 server (versitygw), with
//	                           AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
//	FLOWSHIP_TEST_GCS          the same of a Google Cloud Storage server (fake-gcs-server), with STORAGE_EMULATOR_HOST
//	FLOWSHIP_TEST_AZURE        the same of an Azure Blob Storage server (azurite), with AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY
//	FLOWSHIP_TEST_DOCKER       the address of a Docker engine that has the image flowship-test:busybox: one that answers already, or else,
//	                           for root on Linux, one that is started with all its state in testbed's own directory
//	FLOWSHIP_TEST_KUBECONFIG   the kubeconfig of an administrator of a Kubernetes cluster, for root on Linux only: one node that has the image
//	                           flowship-test:busybox; everything is allowed, pods reach this machine and nothing beyond. A SIGHUP to the
//	                           process FLOWSHIP_TEST_KUBERNETES_PID kills its API server and starts it again. Building it takes
//	                           minutes: that is done only if -servers names it; afterwards it is started like the others
//	FLOWSHIP_TEST_REGISTRY     host and port of an empty image registry without TLS and without accounts
//	FLOWSHIP_TEST_IMAGE        an OCI layout with an image that has a shell, Python and Prefect; a tool rather than a server
//
// The variables that are the clouds' own also keep the command from using whatever account the user has.
//
// The exit code is the command's; 2 for a usage error; 3 where a server could not be started; 128 and the number of the signal where a
// signal ended the command. go run, for its part, exits with 1 for every code but 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
)

// servers are all that testbed knows, in the order of -list.
func servers() []server {
	return []server{
		{name: "prefect", gives: []string{"FLOWSHIP_TEST_PYTHON", "FLOWSHIP_TEST_PREFECT_API"}, start: startPrefect},
		{name: "prefect-secured", gives: []string{"FLOWSHIP_TEST_PREFECT_SECURED", "FLOWSHIP_TEST_PREFECT_AUTH"}, start: startSecuredPrefect},
		{name: "s3", gives: []string{"FLOWSHIP_TEST_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, start: startS3},
		{name: "gcs", gives: []string{"FLOWSHIP_TEST_GCS", "STORAGE_EMULATOR_HOST"}, start: startGCS},
		{name: "azure", gives: []string{"FLOWSHIP_TEST_AZURE", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"}, start: startAzure},
		{name: "docker", gives: []string{"FLOWSHIP_TEST_DOCKER"}, start: startDocker},
		{name: "kubernetes", gives: []string{"FLOWSHIP_TEST_KUBECONFIG", "FLOWSHIP_TEST_KUBERNETES_PID"}, start: startKubernetes},
		{name: "registry", gives: []string{"FLOWSHIP_TEST_REGISTRY"}, start: startRegistry},
		{name: "image", gives: []string{"FLOWSHIP_TEST_IMAGE"}, start: makeImage},
	}
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testbed", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: testbed [-list] [-servers a,b] COMMAND [ARG...]\n")
		flags.PrintDefaults()
	}
	list := flags.Bool("list", false, "print the servers, start nothing")
	only := flags.String("servers", "", "start only these, separated by `commas`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	chosen, err := choose(servers(), *only)
	if err != nil {
		fmt.Fprintf(stderr, "testbed: %v\n", err)
		return 2
	}
	if *list {
		for _, s := range chosen {
			fmt.Fprintf(stdout, "%-16s %s\n", s.name, strings.Join(s.gives, " "))
		}
		return 0
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2
	}

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)

	bed, err := startAll(signals, chosen, *only != "", stderr)
	if err != nil {
		fmt.Fprintf(stderr, "testbed: %v\n", err)
		return 3
	}
	defer bed.stop()
	started := slices.DeleteFunc(slices.Clone(chosen), func(s server) bool { return slices.Contains(bed.missing, s.name) })
	env := append(bed.env, "FLOWSHIP_TEST_SERVERS="+names(started), "FLOWSHIP_TEST_UNAVAILABLE="+strings.Join(bed.missing, ","))
	if *only == "" {
		env = append(env, "FLOWSHIP_TEST_REQUIRED=1")
	}
	code, err := runCommand(flags.Args(), env, signals)
	if err != nil {
		fmt.Fprintf(stderr, "testbed: %v\n", err)
	}
	return code
}

func names(chosen []server) string {
	var all []string
	for _, s := range chosen {
		all = append(all, s.name)
	}
	return strings.Join(all, ",")
}

// choose returns the servers with the names in only, all without names.
func choose(all []server, only string) ([]server, error) {
	if only == "" {
		return all, nil
	}
	var chosen []server
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s server) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no server is named %q; see testbed -list", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// untilSignal returns a context that the first of the signals cancels. The caller stops the watch before it uses signals again.
func untilSignal(signals <-chan os.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			cancel(fmt.Errorf("stopped by signal %q", s))
		case <-quit:
		}
	}()
	return ctx, func() {
		close(quit)
		<-done
		cancel(nil)
	}
}
