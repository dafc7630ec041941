package launch

import (
	"context"
	"fmt"
	"runtime"
	"strings"
)

// Platform is what a program has to be made for to run in a job.
type Platform struct {
	OS, Arch string // as GOOS and GOARCH
}

// Host is the platform of this program.
func Host() Platform { return Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// ParsePlatform reads "linux/arm64".
func ParsePlatform(text string) (Platform, error) {
	system, arch, ok := strings.Cut(text, "/")
	if !ok || system == "" || arch == "" || strings.ContainsAny(text, " \t\r\n\\") || strings.Contains(arch, "/") {
		return Platform{}, fmt.Errorf("platform %q is not of the form linux/amd64", text)
	}
	return Platform{OS: system, Arch: arch}, nil
}

func (p Platform) String() string { return p.OS + "/" + p.Arch }

// PlatformDriver is a [Driver] whose jobs may run on another platform than this program.
type PlatformDriver interface {
	Driver
	// Platform returns what programs of a job with this configuration have to be made for; a zero
	// Platform where that is not known before the job runs.
	Platform(ctx context.Context, configuration map[string]any) (Platform, error)
}

// Platform returns what programs of a job with this configuration have to be made for; a zero
// Platform where that is not known. Nothing is started, and no image is pulled.
func (i *Infrastructure) Platform(ctx context.Context, configuration map[string]any) (Platform, error) {
	d, ok := i.driver.(PlatformDriver)
	if !ok {
		return Platform{}, nil
	}
	p, err := d.Platform(ctx, configuration)
	if err != nil {
		return Platform{}, fmt.Errorf("launch: platform of %s: %w", i.kind, err)
	}
	return p, nil
}
