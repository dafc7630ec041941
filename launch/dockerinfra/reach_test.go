package dockerinfra_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// An engine that is somewhere else gets a job's files and gives its output and its files, whichever
// the way to it: by TLS with a certificate of our own, or by ssh.
func TestElsewhere(t *testing.T) {
	host := engine(t)
	for name, reach := range map[string]func(*testing.T, string) string{"tls": byTLS, "ssh": bySSH} {
		t.Run(name, func(t *testing.T) {
			base := reach(t, host)
			infra, _ := open(t, dockerinfra.Options{})
			dir := t.TempDir()
			source, result := filepath.Join(dir, "source"), filepath.Join(dir, "result")
			if err := os.WriteFile(source, []byte("given\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			var out infratest.Output
			r := start(t, infra, launch.Job{
				Configuration: configure(t, infra, nil), Command: sh("cat /in/file; cp /in/file /result; exit 3"), Stdout: &out,
				Files: []launch.File{{Path: "/in/file", Source: source}}, Take: []launch.File{{Path: "/result", Source: result}},
			})
			if exit := wait(t, r); exit.Code != 3 || out.String() != "given\n" || !strings.HasPrefix(r.ID(), base+":") {
				t.Errorf("id %s, exit %+v, output %q", r.ID(), exit, out.String())
			}
			if taken, err := os.ReadFile(result); err != nil || string(taken) != "given\n" {
				t.Errorf("taken: %q, %v", taken, err)
			}
			nothingLeft(t, host)
		})
	}
}

// byTLS puts a server before the engine that wants a certificate, and names it in the environment.
func byTLS(t *testing.T, host string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The authority, the server and the client are one.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: certificate}, "cert.pem": {Type: "CERTIFICATE", Bytes: certificate}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	authority := x509.NewCertPool()
	authority.AddCert(known)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority})
	if err != nil {
		t.Fatal(err)
	}
	socket, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		t.Skip("needs an engine on a Unix socket")
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { pass(from.(*tls.Conn), socket) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	t.Setenv("DOCKER_HOST", "tcp://"+listener.Addr().String())
	t.Setenv("DOCKER_TLS_VERIFY", "1")
	t.Setenv("DOCKER_CERT_PATH", dir)
	return "https://" + listener.Addr().String()
}

// pass connects a client with the engine until one of the two has enough.
func pass(from *tls.Conn, socket string) {
	defer from.Close()
	if from.Handshake() != nil {
		return
	}
	to, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer to.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(from, to)
		from.Close()
	})
	io.Copy(to, from)
	to.(*net.UnixConn).CloseWrite()
	back.Wait()
}

// bySSH puts a command before all others that does what ssh would on the engine's machine.
func bySSH(t *testing.T, host string) string {
	t.Helper()
	docker := started.Program(t, "docker")
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nuntil test \"$1\" = me.example; do shift; done; shift\nDOCKER_HOST=%s PATH=%s:$PATH exec sh -c \"$*\"\n", host, filepath.Dir(docker))
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("DOCKER_HOST", "ssh://flow@me.example")
	return "http+docker://ssh"
}

// Containers get the proxies that the docker command has for them, where a job says nothing else.
func TestProxies(t *testing.T) {
	host := engine(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"proxies": {"default": {"httpProxy": "http://proxy.example:1", "httpsProxy": "http://proxy.example:2", "noProxy": "a.example,b.example"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	var out infratest.Output
	wait(t, start(t, infra, launch.Job{
		Configuration: configure(t, infra, map[string]any{"env": map[string]any{"HTTP_PROXY": "http://mine.example", "http_proxy": nil}}),
		Command:       sh(`echo "$HTTP_PROXY|${http_proxy-unset}|$HTTPS_PROXY|$https_proxy|$NO_PROXY"`), Stdout: &out,
	}))
	if diff := cmp.Diff("http://mine.example|unset|http://proxy.example:2|http://proxy.example:2|a.example,b.example\n", out.String()); diff != "" {
		t.Errorf("proxies (-want +got):\n%s", diff)
	}
	nothingLeft(t, host)
}

// A container whose name is taken gets the next one, of those that begin at the same time as well.
func TestNames(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	api := docker(t, host)
	const many = 6
	var starting sync.WaitGroup
	ids := make([]string, many)
	for i := range many {
		starting.Go(func() {
			r, err := infra.Start(t.Context(), launch.Job{Configuration: configure(t, infra, map[string]any{"auto_remove": false}), Name: "flowship test: names", Command: sh("exit 0")})
			if err != nil {
				t.Error(err)
				return
			}
			wait(t, r)
			ids[i] = cid(r)
		})
	}
	starting.Wait()
	names := map[string]bool{}
	for _, id := range ids {
		r, err := api.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		names[r.Container.Name] = true
		t.Cleanup(func() { api.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true}) })
	}
	want := map[string]bool{"/flowship-test-names": true}
	for i := 1; i < many; i++ {
		want[fmt.Sprintf("/flowship-test-names-%d", i)] = true
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
