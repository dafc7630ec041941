package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ownDocker starts an engine with all its state in the place. Its mounts are in a namespace of their own and end with it. Its containers
// reach this machine over a bridge, and nothing beyond: iptables are left alone, and so is the bridge of another engine.
func (p *place) ownDocker(ctx context.Context) (*dockerClient, error) {
	if os.Geteuid() != 0 {
		return nil, &unavailableError{"no Docker engine answers, and only root can start one"}
	}
	if err := p.installDocker(ctx); err != nil {
		return nil, err
	}
	bridge, err := p.bridge(ctx)
	if err != nil {
		return nil, err
	}
	socket := "unix://" + filepath.Join(p.dir, "docker.sock")
	cmd := exec.Command("dockerd", "--host", socket, "--data-root", filepath.Join(p.dir, "data"), "--exec-root", filepath.Join(p.dir, "exec"),
		"--pidfile", filepath.Join(p.dir, "dockerd.pid"), "--config-file", filepath.Join(p.dir, "daemon.json"),
		"--iptables=false", "--ip6tables=false", "--bridge="+bridge, "--shutdown-timeout=5")
	if err := os.WriteFile(filepath.Join(p.dir, "daemon.json"), []byte("{}"), 0o600); err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	client, err := newDockerClient(socket)
	if err != nil {
		return nil, err
	}
	if err := p.serve(ctx, "dockerd", cmd, socket, time.Minute, client.answers); ctx.Err() != nil {
		return nil, err
	} else if err != nil {
		lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
		return nil, &unavailableError{"dockerd does not start here: " + lines[len(lines)-1]}
	}
	return client, nil
}

func (p *place) installDocker(ctx context.Context) error {
	return p.installPrograms(ctx, "no Docker engine answers", []string{"dockerd", "containerd", "ip"}, "docker.io", "iptables", "iproute2")
}

// bridgePrefix begins the names of testbeds' bridges, which end with 15 characters at the latest.
const bridgePrefix = "fstest"

// bridge makes a bridge for containers. A file in the cache that is locked as long as this testbed lives has its name; bridges whose
// file nobody locks were left by killed testbeds, and go first.
func (p *place) bridge(ctx context.Context) (string, error) {
	marks, err := filepath.Glob(filepath.Join(p.cache, bridgePrefix+"*.lock"))
	if err != nil {
		return "", err
	}
	for _, mark := range marks {
		removeStaleBridge(ctx, mark)
	}
	name := fmt.Sprintf("%s%06x", bridgePrefix, rand.IntN(1<<24))
	mark := filepath.Join(p.cache, name+".lock")
	unlock, err := lock(ctx, mark, func() {})
	if err != nil {
		return "", err
	}
	p.atEnd(func() {
		os.Remove(mark)
		unlock()
	})
	network, err := freeNetwork()
	if err != nil {
		return "", err
	}
	p.atEnd(func() { tool(context.Background(), nil, "ip", "link", "del", name) })
	for _, args := range [][]string{
		{"link", "add", name, "type", "bridge"}, {"addr", "add", network, "dev", name}, {"link", "set", name, "up"},
	} {
		if _, err := tool(ctx, nil, "ip", args...); ctx.Err() != nil {
			return "", err
		} else if err != nil {
			line, _, _ := strings.Cut(err.Error(), "\n")
			return "", &unavailableError{"no Docker engine answers, and no bridge can be made for one: " + line}
		}
	}
	return name, nil
}

func removeStaleBridge(ctx context.Context, mark string) {
	f, err := os.OpenFile(mark, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if ok, err := tryLock(f); !ok || err != nil {
		return
	}
	name := strings.TrimSuffix(filepath.Base(mark), ".lock")
	_, err = tool(ctx, nil, "ip", "link", "del", name)
	if _, there := net.InterfaceByName(name); err == nil || there != nil {
		if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

// freeNetwork returns the address that a bridge gets, in a network that this machine has no address in.
func freeNetwork() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for range 100 {
		ip, network, err := net.ParseCIDR(fmt.Sprintf("172.31.%d.1/24", rand.IntN(255)))
		if err != nil {
			return "", err
		}
		taken := false
		for _, a := range addresses {
			if other, ok := a.(*net.IPNet); ok && (other.Contains(ip) || network.Contains(other.IP)) {
				taken = true
			}
		}
		if !taken {
			return ip.String() + "/24", nil
		}
	}
	return "", &unavailableError{"no Docker engine answers, and there is no network left for one"}
}
