//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// parts are started in this order, though none waits for another.
var parts = []string{"etcd", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"}

const restarted = "kube-apiserver"

// serve runs the parts until a signal comes. What it started ends with it: it is process 1.
func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: kubernetes serve DIR")
	}
	dir := args[0]
	if os.Getpid() != 1 {
		return errors.New("it is not process 1 of a namespace of its own")
	}
	if err := isolate(dir); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGCHLD)
	running := map[int]string{} // parts by pid
	for _, part := range parts {
		if err := start(dir, part, running); err != nil {
			return err
		}
	}
	for s := range signals {
		switch s {
		case syscall.SIGHUP:
			for pid, part := range running {
				if part == restarted {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		case syscall.SIGCHLD:
			if err := reap(dir, running); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// start starts a part. Its process is not waited for here, but with all others in reap.
func start(dir, part string, running map[int]string) error {
	arguments, err := os.ReadFile(filepath.Join(dir, part+".args"))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, part+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{part}, strings.Fields(string(arguments))...)
	if part == "containerd" {
		if program, err = exec.LookPath(part); err != nil {
			return err
		}
		args = args[1:]
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	running[cmd.Process.Pid] = part
	return cmd.Process.Release()
}

// reap waits for all processes that have ended, also for containers' that nobody else waits for, and starts parts again.
func reap(dir string, running map[int]string) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return nil
		}
		part, ok := running[pid]
		if !ok {
			continue
		}
		delete(running, pid)
		fmt.Fprintf(os.Stderr, "%s: ended with code %d, signal %d\n", part, status.ExitStatus(), status.Signal())
		time.Sleep(200 * time.Millisecond) // a part that cannot start must not keep the machine busy
		if err := start(dir, part, running); err != nil {
			return err
		}
	}
}

// isolate covers what the parts would change on the machine.
func isolate(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// State that no option moves elsewhere.
	for _, path := range []string{"/run", "/var/lib", "/var/log"} {
		if strings.HasPrefix(dir, path+"/") {
			return fmt.Errorf("the directory %q must not be below %q", dir, path)
		}
		if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	// What the kubelet and the network plugins set, in files that are theirs alone.
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000", "net/ipv4/ip_forward": "1",
	} {
		path := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		cover := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(cover, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(cover, path, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}
