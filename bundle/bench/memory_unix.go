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
	return residentBytes(usage)
}

// ownPeak is that of this process.
func ownPeak() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return residentBytes(&usage)
}

// residentBytes reads a number that macOS gives in bytes and all others in KiB.
func residentBytes(usage *syscall.Rusage) int64 {
	peak := int64(usage.Maxrss)
	if runtime.GOOS != "darwin" {
		peak *= 1024
	}
	return peak
}
