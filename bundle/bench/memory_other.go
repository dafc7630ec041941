//go:build !unix

package main

import "os"

// The system does not tell.

func maxResident(*os.ProcessState) int64 { return 0 }

func ownPeak() int64 { return 0 }
