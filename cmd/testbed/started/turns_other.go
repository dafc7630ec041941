//go:build !unix

package started

import "testing"

// Share does nothing: on this system testbed starts no server that anybody has alone.
func Share(testing.TB, string) {}

// Alone does nothing, as [Share].
func Alone(testing.TB, string) {}

// Take does nothing, as [Share].
func Take(string, bool) (release func(), err error) { return func() {}, nil }
