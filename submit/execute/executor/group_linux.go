package executor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// alone reports whether no other process of this one's group is left; a zombie is not.
func alone() bool {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return false // not told
	}
	self, group := strconv.Itoa(os.Getpid()), strconv.Itoa(syscall.Getpgrp())
	for _, path := range stats {
		// pid (name) state parent group …, and the name may hold anything.
		stat, _ := os.ReadFile(path)
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || string(fields[2]) != group || string(fields[0]) == "Z" {
			continue
		}
		if filepath.Base(filepath.Dir(path)) != self {
			return false
		}
	}
	return true
}
