//go:build !linux

package local

// identify: only Linux names a process for good.
func identify() string { return "" }

func lifeOf(_, _ string) life { return lifeUnknown }
