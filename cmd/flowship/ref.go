package main

import (
	"context"

	"github.com/flowship/flowship/bundle"
)

// openBundle finds the bundle that REF names. The caller calls done when it needs it no more.
func openBundle(_ context.Context, _ *console, ref string) (b *bundle.Bundle, done func(), err error) {
	b, err = bundle.Open(ref)
	return b, func() {}, err
}
