//go:build unix && !linux

package executor

// alone: only Linux shows who is in a group, and tells a process that its parent was killed.
func alone() bool { return false }
