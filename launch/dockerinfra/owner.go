package dockerinfra

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// owner is a program that makes containers. It holds a lock on its file, whose name is on the
// containers, as long as it lives; no number of a process is as good: those come again.
type owner struct {
	name string
	file *os.File
}

const lockSuffix = ".lock"

func (d *Driver) lockDir() string {
	if d.opts.Dir != "" {
		return d.opts.Dir
	}
	if cache, err := os.UserCacheDir(); err == nil {
		return filepath.Join(cache, "flowship", "docker")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("flowship-docker-%d", os.Getuid()))
}

// own returns this driver as an owner.
func (d *Driver) own(e *engine) (*owner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.jobs.Err(); err != nil {
		return nil, err
	}
	if d.owner != nil {
		return d.owner, nil
	}
	dir := d.lockDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for {
		// A sweep may come between the making and the locking of a file; then the next one is tried.
		o := &owner{name: strings.ToLower(rand.Text())}
		file, err := os.OpenFile(filepath.Join(dir, o.name+lockSuffix), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		o.file = file
		ok, err := o.lock()
		if err != nil {
			return nil, errors.Join(err, os.Remove(o.file.Name()))
		}
		if !ok {
			continue
		}
		if _, err := o.file.WriteString(e.host); err != nil {
			return nil, errors.Join(err, o.release(true))
		}
		d.owner = o
		return o, nil
	}
}

// lock reports whether the owner's file is locked now, and still there; if not, it is closed.
func (o *owner) lock() (bool, error) {
	ok, err := tryLock(o.file)
	if err != nil {
		o.file.Close()
		return false, fmt.Errorf("lock %q: %w", o.file.Name(), err)
	}
	if ok {
		locked, err := o.file.Stat()
		if err == nil {
			if named, err := os.Lstat(o.file.Name()); err == nil && os.SameFile(locked, named) {
				return true, nil
			}
		}
	}
	o.file.Close()
	return false, nil
}

// release gives the lock up, and removes the file, if nobody needs to know of it any more.
func (o *owner) release(remove bool) error {
	if o == nil {
		return nil
	}
	// Before the lock is given up, so that nobody gets it for a file that is about to go. Windows
	// removes none that is open.
	removed := remove && os.Remove(o.file.Name()) == nil
	err := o.file.Close()
	if remove && !removed {
		if gone := os.Remove(o.file.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// seize locks the file of an owner that is gone; nil says that it lives, or was never here.
func seize(path string) (*owner, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o := &owner{name: strings.TrimSuffix(filepath.Base(path), lockSuffix), file: file}
	if ok, err := o.lock(); !ok || err != nil {
		return nil, err
	}
	return o, nil
}

// Sweep implements [launch.Sweeper]: it removes what programs left on this engine that were killed,
// or ended before their jobs: containers that run or were never started, and those that ended and
// were not to be kept. A container that is to be kept is only ended. It returns the ids of the
// containers that it removed or ended.
//
// Only programs count whose [Options.Dir] is the same. That another program has found a container
// since is for spare to know.
func (d *Driver) Sweep(ctx context.Context, spare launch.Spare) ([]string, error) {
	e, err := d.connect()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(d.lockDir(), "*"+lockSuffix))
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, path := range files {
		gone, err := seize(path)
		if err != nil {
			return swept, err
		}
		if gone == nil {
			continue
		}
		ids, err := e.sweep(ctx, gone, spare)
		swept = append(swept, ids...)
		if err != nil {
			return swept, errors.Join(err, gone.release(false))
		}
	}
	return swept, nil
}

// sweep removes the containers of one owner, and then its file unless some were spared.
func (e *engine) sweep(ctx context.Context, gone *owner, spare launch.Spare) ([]string, error) {
	host, err := os.ReadFile(gone.file.Name())
	if err != nil {
		return nil, err
	}
	if len(host) > 0 && string(host) != e.host {
		return nil, gone.release(false)
	}
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", LabelOwner+"="+gone.name),
	})
	if err != nil {
		return nil, e.fault(err)
	}
	var swept []string
	spared := false
	for _, c := range list.Items {
		_, keep := c.Labels[LabelKeep]
		ended := c.State == container.StateExited || c.State == container.StateDead
		switch {
		case keep && ended:
			continue
		case spare != nil && spare(func(name string) string { return c.Labels[dockerLabel(name)] }):
			spared = true
			continue
		case keep && c.State != container.StateCreated:
			now := 0
			_, err = e.api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &now})
		default:
			_, err = e.api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
		}
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			return swept, e.fault(err)
		}
		swept = append(swept, e.base+":"+c.ID)
	}
	return swept, gone.release(!spared)
}
