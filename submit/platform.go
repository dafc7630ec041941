package submit

import (
	"context"
	"fmt"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/submit/worker"
)

// askTime is how long an engine may take to say what it runs programs on.
const askTime = 5 * time.Second

// build makes the Go program for the platform of the job.
func (s *submission) build(ctx context.Context, template *launch.Template) error {
	platform, err := s.platform(ctx, template)
	if err != nil {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, err)
	}
	if s.Build == nil || s.Runtime != bundle.RuntimeGo || s.Program != nil {
		return nil
	}
	s.Program, err = s.Build(ctx, platform)
	return err
}

// platform is what programs of the job have to be made for. The one that the invocation names is
// checked in any case.
func (s *submission) platform(ctx context.Context, template *launch.Template) (launch.Platform, error) {
	infra, err := s.infrastructure(s.pool.Type)
	if err != nil || s.Build == nil { // nobody to ask here, or nothing to ask
		return platformOf(ctx, nil, s.variables, nil)
	}
	configuration, err := s.configuration(ctx, template)
	if err != nil { // who launches the job says what is wrong
		infra = nil
	}
	return platformOf(ctx, infra, s.variables, configuration)
}

// configuration is that of the job, as far as it is known before it is launched.
func (s *submission) configuration(ctx context.Context, template *launch.Template) (map[string]any, error) {
	var refs launch.References
	if open := s.references(); open != nil {
		var err error
		if refs, err = open(ctx); err != nil {
			return nil, err
		}
	}
	return template.ResolveWith(ctx, forTemplate(template, s.variables), refs)
}

// platformOf is what programs of a job have to be made for: what its variables say, else what the
// infrastructure knows, else this machine's architecture.
func platformOf(ctx context.Context, infra *launch.Infrastructure, variables, configuration map[string]any) (launch.Platform, error) {
	if given, ok := variables[worker.Platform]; ok && given != nil {
		text, _ := given.(string)
		p, err := launch.ParsePlatform(text)
		if err != nil {
			return p, &InvalidError{fmt.Sprintf("job variable %q: %v", worker.Platform, err)}
		}
		return p, nil
	}
	if infra == nil {
		return jobHost(""), nil
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p, err := infra.Platform(asking, configuration)
	switch {
	case ctx.Err() != nil:
		return p, context.Cause(ctx)
	case err == nil && p != launch.Platform{}:
		return p, nil
	}
	return jobHost(infra.Type()), nil // what is wrong with the engine, the launch says
}

// jobHost is this machine's platform, as jobs of a pool of this type have it: containers run Linux.
func jobHost(poolType string) launch.Platform {
	p := launch.Host()
	if poolType != processinfra.Type {
		p.OS = "linux"
	}
	return p
}
