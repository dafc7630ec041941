package dockerinfra

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"golang.org/x/text/unicode/norm"
)

// parseSize reads a number of bytes with an optional unit: b, k, m or g, each 1024 of the one
// before, in either case and with an optional b behind. -1 is what the engine takes for no limit,
// and nothing is 0.
func parseSize(s string) (int64, error) {
	refuse := fmt.Errorf("%q is not a size such as 512m or 1.5g", s)
	digits := strings.ToLower(s)
	if digits == "" {
		return 0, nil
	}
	if n := len(digits); n > 2 && digits[n-1] == 'b' && strings.IndexByte("bkmg", digits[n-2]) >= 0 {
		digits = digits[:n-1]
	}
	factor := 1.0
	if n := len(digits); n > 1 {
		if i := strings.IndexByte("bkmg", digits[n-1]); i >= 0 {
			factor, digits = math.Pow(1024, float64(i)), digits[:n-1]
		}
	}
	digits = strings.TrimSpace(digits)
	if strings.Trim(digits, "0123456789.e+-") != "" { // neither hexadecimal nor infinite
		return 0, refuse
	}
	n, err := strconv.ParseFloat(digits, 64)
	if n *= factor; err != nil || n < 0 && n != -1 || n >= math.MaxInt64 {
		return 0, refuse
	}
	return int64(n), nil
}

var (
	volumeName   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	windowsDrive = regexp.MustCompile(`^[A-Za-z]:\\`)
)

// parseVolume checks a volume, SOURCE:PATH[:ro|rw] or the PATH of an anonymous one, and returns
// it with a relative source made absolute.
func parseVolume(s string) (string, error) {
	refuse := func(why string) (string, error) { return "", fmt.Errorf("the volume %q: %s", s, why) }
	v := strings.TrimSpace(s)
	if v == "" {
		return refuse("it is empty")
	}
	if strings.ContainsAny(v, "\n\r\x00") {
		return refuse("it has more than one line")
	}
	drive := windowsDrive.FindString(v)
	parts := strings.SplitN(v[len(drive):], ":", 3)
	if len(parts) == 1 {
		if drive != "" || !strings.HasPrefix(v, "/") || v == "/" {
			return refuse("it is neither SOURCE:PATH nor the absolute path of an anonymous volume")
		}
		return v, nil
	}
	source, target := drive+parts[0], parts[1]
	if source == "" || target == "" {
		return refuse("the source or the path is empty")
	}
	if len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" {
		return refuse(fmt.Sprintf("the option %q is neither ro nor rw", parts[2]))
	}
	relative := source == "." || source == ".." || strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../") ||
		strings.HasPrefix(source, `.\`) || strings.HasPrefix(source, `..\`)
	switch {
	case relative || drive != "" || strings.HasPrefix(source, "/") || strings.HasPrefix(source, `\\`):
		if !strings.HasPrefix(target, "/") {
			return refuse("the path in the container is not absolute")
		}
	case !volumeName.MatchString(source):
		return refuse(fmt.Sprintf("%q is neither a path, which begins with / or ., nor the name of a volume", source))
	}
	if relative {
		absolute, err := filepath.Abs(source)
		if err != nil {
			return refuse(err.Error())
		}
		v = absolute + v[len(source):]
	}
	return v, nil
}

// image is a checked image reference.
type image struct {
	text   string          // as it was given
	named  reference.Named // nil for the id of an image, which only the engine itself has
	floats bool            // what it means may change: there is neither a digest nor a tag but "latest"
}

func parseImage(s string) (image, error) {
	ref, err := reference.ParseAnyReference(s)
	if err != nil {
		return image{}, fmt.Errorf("the image %q: %w", s, err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return image{text: s}, nil
	}
	_, digested := ref.(reference.Digested)
	tagged, _ := ref.(reference.Tagged)
	return image{text: s, named: named, floats: !digested && (tagged == nil || tagged.Tag() == "latest")}, nil
}

// registry returns the registry of the image.
func (i image) registry() string {
	if i.named == nil {
		return ""
	}
	return reference.Domain(i.named)
}

// hub is how the Docker Hub is called in references.
const hub = "docker.io"

// registryHost is the host that is meant by the URL of a registry.
func registryHost(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	host, _, _ := strings.Cut(url, "/")
	switch host = strings.ToLower(host); host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "":
		return hub
	}
	return host
}

var noName = regexp.MustCompile(`[^a-zA-Z0-9_.]+`) // also runs of dashes

// containerName makes a name that the engine takes of any text, "" of one without letters and
// digits. Letters lose their accents.
func containerName(s string) string {
	var plain strings.Builder
	for _, r := range norm.NFKD.String(s) {
		if r < 0x300 || r > 0x36f {
			plain.WriteRune(r)
		}
	}
	name := strings.Trim(noName.ReplaceAllString(plain.String(), "-"), "-")
	if len(name) > 250 {
		name = name[:250]
	}
	name = strings.TrimLeft(strings.Trim(name, "-"), "_-.")
	if len(name) < 2 {
		return "" // the engine wants two characters
	}
	return name
}

// dockerLabel turns a label as Kubernetes writes it into one as Docker does: prefect.io/flow-id
// into io.prefect.flow-id.
func dockerLabel(name string) string {
	domain, key, ok := strings.Cut(name, "/")
	if !ok {
		return name
	}
	parts := strings.Split(domain, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + key
}

var errBoth = errors.New("networks and network_mode exclude each other")
