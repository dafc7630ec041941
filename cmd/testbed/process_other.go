//go:build !linux

package main

import "os/exec"

// dieWithParent has a process stopped when testbed is killed; only Linux offers that.
func dieWithParent(*exec.Cmd) {}
