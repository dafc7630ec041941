package oci

import (
	"fmt"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform is what an image runs on.
type Platform struct {
	OS, Arch string // as Go calls them: "linux", "amd64"
	Variant  string // "v7" of arm; "" for any
}

// ParsePlatform reads "linux/arm/v7".
func ParsePlatform(text string) (Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || strings.TrimSpace(text) != text || parts[0] == "" || parts[1] == "" || parts[len(parts)-1] == "" {
		return Platform{}, &InvalidError{"platform", text, "want OS/ARCH, as in linux/amd64"}
	}
	if parts[0] != "linux" {
		return Platform{}, &InvalidError{"platform", text, "images are made for linux"}
	}
	p := Platform{OS: parts[0], Arch: parts[1]}
	if len(parts) == 3 && text != "linux/arm64/v8" { // there is no other
		p.Variant = parts[2]
	}
	return p, nil
}

// HostPlatform is Linux on this machine's architecture.
func HostPlatform() Platform { return Platform{OS: "linux", Arch: runtime.GOARCH} }

func (p Platform) String() string {
	if p.Variant == "" {
		return p.OS + "/" + p.Arch
	}
	return p.OS + "/" + p.Arch + "/" + p.Variant
}

func platformOf(p *v1.Platform) Platform {
	found := Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
	if found.Arch == "arm64" && found.Variant == "v8" {
		found.Variant = ""
	}
	return found
}

func (p Platform) descriptor() *v1.Platform {
	return &v1.Platform{OS: p.OS, Architecture: p.Arch, Variant: p.Variant}
}

// serves reports whether an image for p is what somebody wants who asks for want.
func (p Platform) serves(want Platform) bool {
	return p.OS == want.OS && p.Arch == want.Arch && (want.Variant == "" || p.Variant == want.Variant)
}

// listed writes platforms for people.
func listed(platforms []Platform) string {
	var names []string
	for _, p := range platforms {
		names = append(names, fmt.Sprint(p))
	}
	return strings.Join(names, ", ")
}
