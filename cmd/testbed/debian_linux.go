package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// policy keeps Debian's packages from starting services.
const policy = "/usr/sbin/policy-rc.d"

// installPrograms installs Debian packages unless all of the programs are there. Otherwise is what is the case without them.
func (p *place) installPrograms(ctx context.Context, otherwise string, programs []string, packages ...string) error {
	missing := func() (string, error) {
		for _, program := range programs {
			if _, err := exec.LookPath(program); err != nil {
				return program, err
			}
		}
		return "", nil
	}
	name, err := missing()
	if err == nil {
		return nil
	}
	if !canAptInstall() {
		return &unavailableError{fmt.Sprintf("%s, and %s is not installed", otherwise, name)}
	}
	if f, err := os.OpenFile(policy, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755); err == nil {
		defer os.Remove(policy)
		if _, err := f.WriteString("#!/bin/sh\nexit 101\n"); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	if err := p.aptInstall(ctx, packages...); err != nil {
		return err
	}
	_, err = missing()
	return err
}
