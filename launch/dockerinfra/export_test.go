package dockerinfra

import "github.com/flowship/flowship/launch"

// ShelfName is for tests that look for the volume of their own file.
func ShelfName(shared launch.File) (string, error) { return shelfName([]launch.File{shared}) }
