//go:build !linux

package execute

import "os"

// widen: only Linux has pipes of more than one size.
func widen(*os.File) {}
