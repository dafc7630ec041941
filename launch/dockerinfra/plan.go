package dockerinfra

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/flowship/flowship/launch"
)

// configuration is the job configuration of the docker type.
type configuration struct {
	launch.Common
	Image                 string                     `json:"image"`
	RegistryCredentials   *credentials               `json:"registry_credentials"`
	ImagePullPolicy       string                     `json:"image_pull_policy"`
	Networks              []string                   `json:"networks"`
	NetworkMode           string                     `json:"network_mode"`
	AutoRemove            bool                       `json:"auto_remove"`
	Volumes               []string                   `json:"volumes"`
	StreamOutput          *bool                      `json:"stream_output"` // nil is true
	MemLimit              string                     `json:"mem_limit"`
	MemswapLimit          string                     `json:"memswap_limit"`
	Privileged            bool                       `json:"privileged"`
	ContainerCreateKwargs map[string]json.RawMessage `json:"container_create_kwargs"`
}

// credentials are Prefect's block of that kind. The password is nowhere printed.
type credentials struct {
	Username    string `json:"username"`
	Password    string `json:"password"`
	RegistryURL string `json:"registry_url"`
}

const (
	always       = "Always"
	ifNotPresent = "IfNotPresent"
	ifPossible   = "IfPossible"
	never        = "Never"
)

// plan is a job as it is going to be started: what can be found wrong without the engine was
// found before it was asked.
type plan struct {
	job         *launch.Job
	image       image
	policy      string
	credentials *credentials
	request     *request
	name        string   // "" leaves it to the engine
	networks    []string // all but the first, which is in the request
	gateway     bool     // the job is to reach this machine
	stream      bool
	keep        bool
	notes       io.Writer // for what whoever starts the job should know
}

func (d *Driver) plan(job *launch.Job) (*plan, error) {
	var c configuration
	if err := job.Configure(&c); err != nil {
		return nil, err
	}
	p := &plan{
		job: job, credentials: c.RegistryCredentials, stream: c.StreamOutput == nil || *c.StreamOutput,
		keep: job.Keep || !c.AutoRemove, notes: job.Notes,
	}
	if p.notes == nil {
		p.notes = io.Discard
	}
	if err := p.chooseImage(&c, d.opts.Image); err != nil {
		return nil, err
	}
	argv, err := job.Argv(c.Command, launch.Split)
	if err != nil {
		return nil, err
	}
	for _, f := range job.Files {
		info, err := os.Stat(f.Source)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%q is not a regular file", f.Source)
		}
	}
	r := &request{config: container.Config{Image: c.Image, Cmd: argv, Labels: map[string]string{}}}
	r.config.Image = p.image.text
	r.host.Privileged = c.Privileged
	p.request = r
	for _, labels := range []map[string]string{job.Labels, c.Labels} {
		for name, value := range labels {
			r.config.Labels[dockerLabel(name)] = value
		}
	}
	if p.keep {
		r.config.Labels[LabelKeep] = "true"
	}
	if p.name = containerName(c.Name); c.Name == "" {
		p.name = containerName(job.Name)
	}
	if err := p.limits(&c); err != nil {
		return nil, err
	}
	for _, v := range c.Volumes {
		bind, err := parseVolume(v)
		if err != nil {
			return nil, err
		}
		if strings.Contains(bind, ":") {
			r.host.Binds = append(r.host.Binds, bind)
		} else {
			if r.config.Volumes == nil {
				r.config.Volumes = map[string]struct{}{}
			}
			r.config.Volumes[bind] = struct{}{}
		}
	}
	if err := p.connect(&c); err != nil {
		return nil, err
	}
	return p, r.apply(c.ContainerCreateKwargs, p.notes)
}

func (p *plan) chooseImage(c *configuration, otherwise string) error {
	text := c.Image
	if text == "" {
		text = otherwise
	}
	if text == "" {
		text = DefaultImage
	}
	var err error
	if p.image, err = parseImage(text); err != nil {
		return err
	}
	switch p.policy = c.ImagePullPolicy; p.policy {
	case always, ifNotPresent, ifPossible, never:
	case "":
		if p.policy = ifNotPresent; p.image.floats {
			p.policy = always
		}
	default:
		return fmt.Errorf("image_pull_policy %q is none of %s, %s, %s and %s", p.policy, ifNotPresent, always, ifPossible, never)
	}
	if p.image.named == nil && (p.policy == always || p.policy == ifPossible) {
		return fmt.Errorf("the image %q is the id of one, which no registry knows: image_pull_policy %s cannot be met", text, p.policy)
	}
	return nil
}

func (p *plan) limits(c *configuration) error {
	host := &p.request.host
	for _, limit := range []struct {
		name, value string
		into        *int64
		least       int64
	}{{"mem_limit", c.MemLimit, &host.Memory, 0}, {"memswap_limit", c.MemswapLimit, &host.MemorySwap, -1}} {
		if limit.value == "" {
			continue
		}
		n, err := parseSize(limit.value)
		if err == nil && n < limit.least {
			err = fmt.Errorf("%q is below zero", limit.value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", limit.name, err)
		}
		*limit.into = n
	}
	if host.MemorySwap > 0 && host.Memory == 0 {
		return errors.New("memswap_limit needs a mem_limit beside it")
	}
	return nil
}

// Where a job looks for Prefect's server.
const apiURL = "PREFECT_API_URL"

// local are the names by which a program calls the machine that it runs on.
func local(host string) bool { return host == "localhost" || host == "127.0.0.1" }

// What a container calls the machine that the engine runs on.
const internalHost = "host.docker.internal"

var localLooking = regexp.MustCompile(`localhost|127\.0\.0\.1|host\.docker\.internal`)

// connect decides about networks, and about how the job finds a server on this machine.
func (p *plan) connect(c *configuration) error {
	r := p.request
	set, unset, err := p.job.Environment(c.Env)
	if err != nil {
		return err
	}
	value := func(v string) (string, bool) { return strings.CutPrefix(v, apiURL+"=") }
	api, i := "", slices.IndexFunc(set, func(v string) bool { _, ok := value(v); return ok })
	if i >= 0 {
		api, _ = value(set[i])
	}
	parsed, _ := url.Parse(api)
	onHost := parsed != nil && local(parsed.Hostname())
	mode := c.NetworkMode
	switch {
	case len(c.Networks) > 0 && mode != "":
		return errBoth
	case len(c.Networks) > 0:
		mode, p.networks = c.Networks[0], c.Networks[1:]
		r.networks = map[string]*network.EndpointSettings{mode: {}}
	case mode == "" && onHost && runtime.GOOS == "linux":
		mode = "host"
	}
	for _, n := range c.Networks {
		if n == "" {
			return errors.New("networks: a name is empty")
		}
	}
	r.host.NetworkMode = container.NetworkMode(mode)
	// A URL that the user gave is theirs; the one that comes from this program is of this machine.
	if theirs, ok := c.Env[apiURL]; onHost && mode != "host" && !(ok && theirs != nil && *theirs == api) {
		parsed.Host = hostPort(internalHost, parsed.Port())
		set[i] = apiURL + "=" + parsed.String()
	}
	p.gateway = runtime.GOOS == "linux" && (i < 0 || localLooking.MatchString(set[i]))
	// A name without a value is a variable of the image that the job does not get.
	r.config.Env = append(set, unset...)
	return nil
}

func hostPort(host, port string) string {
	if port == "" {
		return host
	}
	return net.JoinHostPort(host, port)
}

// address adds the name of the engine's machine, if the engine knows it and nobody else said so.
// A container in another's network, or in none, has no hosts of its own.
func (p *plan) address(apiVersion string) {
	r := p.request
	if !p.gateway || versions.LessThan(apiVersion, "1.41") || r.host.NetworkMode.IsContainer() || r.host.NetworkMode.IsNone() ||
		slices.ContainsFunc(r.host.ExtraHosts, func(h string) bool { return strings.HasPrefix(h, internalHost+":") }) {
		return
	}
	r.host.ExtraHosts = append(r.host.ExtraHosts, internalHost+":host-gateway")
}
