//go:build unix

package bundle_test

import "syscall"

func mkfifo(path string) error             { return syscall.Mkfifo(path, 0o644) }
func chmod(path string, mode uint32) error { return syscall.Chmod(path, mode) }
func umask(mask int) int                   { return syscall.Umask(mask) }
