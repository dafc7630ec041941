package dockerinfra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fetch pulls the image if the policy wants that before anybody has looked for it.
func (p *plan) fetch(ctx context.Context, e *engine) error {
	if p.policy != always && p.policy != ifPossible {
		return nil
	}
	err := p.pull(ctx, e)
	if err == nil || p.policy == always || ctx.Err() != nil {
		return err
	}
	here, lookErr := p.present(ctx, e)
	if lookErr != nil {
		return lookErr
	}
	if !here {
		return fmt.Errorf("%w, and the engine has none of that name", err)
	}
	fmt.Fprintf(p.notes, "docker: %v; the engine has one of that name, which is used\n", err)
	return nil
}

// missing is called when the engine does not have the image. It reports whether it has it now.
func (p *plan) missing(ctx context.Context, e *engine) error {
	switch {
	case p.policy == never:
		return fmt.Errorf("the engine has no image %q, and image_pull_policy %s forbids to pull it", p.image.text, never)
	case p.image.named == nil:
		return fmt.Errorf("the engine has no image %q", p.image.text)
	}
	return p.pull(ctx, e)
}

func (p *plan) present(ctx context.Context, e *engine) (bool, error) {
	_, err := e.api.ImageInspect(ctx, p.image.text)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, e.fault(err)
}

// pull has the engine pull the image, and notes what it says about that.
func (p *plan) pull(ctx context.Context, e *engine) error {
	fmt.Fprintf(p.notes, "docker: pulling the image %q\n", p.image.text)
	opts := client.ImagePullOptions{RegistryAuth: p.authorization(ctx)}
	if p.request.platform != nil {
		opts.Platforms = []ocispec.Platform{*p.request.platform}
	}
	progress, err := e.api.ImagePull(ctx, p.image.named.String(), opts)
	if err != nil {
		return p.pullFailed(ctx, e, err)
	}
	defer progress.Close()
	said := &pulled{last: time.Now()}
	for message, err := range progress.JSONMessages(ctx) {
		if err != nil {
			return p.pullFailed(ctx, e, err)
		}
		if message.Error != nil {
			return p.pullFailed(ctx, e, message.Error)
		}
		if line := said.take(&message, time.Now()); line != "" {
			fmt.Fprintf(p.notes, "docker: %s\n", line)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// pulled is what has come of an image so far.
type pulled struct {
	layers map[string]*jsonstream.Progress // by their ids
	last   time.Time                       // when something was said
}

// often is how long nothing may be said while a layer is on its way.
const often = 5 * time.Second

// take takes in what the engine says, and returns what of that is to be said now, or "".
func (p *pulled) take(message *jsonstream.Message, now time.Time) (line string) {
	switch {
	case message.ID == "" && message.Status != "":
		line = message.Status
	case slices.Contains([]string{"Pull complete", "Already exists"}, message.Status):
		line = message.ID + ": " + message.Status
	case message.Status == "Downloading" && message.Progress != nil:
		if p.layers == nil {
			p.layers = map[string]*jsonstream.Progress{}
		}
		p.layers[message.ID] = message.Progress
		if now.Sub(p.last) >= often {
			line = p.sum()
		}
	case message.Status == "Download complete" && p.layers[message.ID] != nil:
		p.layers[message.ID].Current = p.layers[message.ID].Total
	}
	if line != "" {
		p.last = now
	}
	return line
}

// sum is how much there is of the layers that are known.
func (p *pulled) sum() string {
	var there, whole int64
	for _, layer := range p.layers {
		there, whole = there+layer.Current, whole+max(layer.Current, layer.Total)
	}
	return fmt.Sprintf("%s of %s", units.HumanSize(float64(there)), units.HumanSize(float64(whole)))
}

func (p *plan) pullFailed(ctx context.Context, e *engine, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if client.IsErrConnectionFailed(err) {
		return e.fault(err)
	}
	err = e.fault(err)
	said := strings.ToLower(err.Error())
	for _, word := range []string{"denied", "unauthorized", "no basic auth credentials", "authentication required", "incorrect username"} {
		if strings.Contains(said, word) {
			return fmt.Errorf("the registry %q does not hand out the image %q, or only with other registry_credentials: %w", p.image.registry(), p.image.text, err)
		}
	}
	if errdefs.IsNotFound(err) || strings.Contains(said, "manifest unknown") || strings.Contains(said, "not found") {
		return fmt.Errorf("the registry %q has no image %q: %w", p.image.registry(), p.image.text, err)
	}
	return fmt.Errorf("pull the image %q: %w", p.image.text, err)
}

// authorization returns what the engine shows to the registry, "" for nothing: the credentials of
// the job, if they are for this registry, or else those that "docker login" has stored.
func (p *plan) authorization(ctx context.Context) string {
	host := p.image.registry()
	auth := registry.AuthConfig{ServerAddress: host}
	if host == hub {
		auth.ServerAddress = authn.DefaultAuthKey
	}
	if c := p.credentials; c != nil {
		if theirs := registryHost(c.RegistryURL); theirs != host {
			fmt.Fprintf(p.notes, "docker: the registry credentials are for %q and not shown to %q\n", theirs, host)
		} else {
			auth.Username, auth.Password = c.Username, c.Password
		}
	} else if err := stored(ctx, host, &auth); err != nil {
		fmt.Fprintf(p.notes, "docker: no stored credentials for %q: %v\n", host, err)
	}
	if auth.Username == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return ""
	}
	header, err := authconfig.Encode(auth)
	if err != nil {
		return ""
	}
	return header
}

// stored fills in what the docker command's configuration has for the registry.
func stored(ctx context.Context, host string, auth *registry.AuthConfig) error {
	at, err := name.NewRegistry(registryKey(host), name.WeakValidation)
	if err != nil {
		return err
	}
	a, err := authn.Resolve(ctx, authn.DefaultKeychain, at)
	if err != nil {
		return errors.New("the docker command's configuration, or its credential helper, cannot be used")
	}
	found, err := authn.Authorization(ctx, a)
	if err != nil {
		return err
	}
	auth.Username, auth.Password = found.Username, found.Password
	auth.IdentityToken, auth.RegistryToken = found.IdentityToken, found.RegistryToken
	return nil
}

func registryKey(host string) string {
	if host == hub {
		return name.DefaultRegistry
	}
	return host
}
