//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// maxResident is the peak of a process's resident memory, in bytes.
func maxResident(s *os.ProcessState) int64 {
	usage, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	peak := int64(usage.Maxrss)
	if runtime.GOOS != "darwin" {
		peak *= 1024
	}
	return peak
}
