package executor

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
)

// Step is what the command line of an executor says.
type Step struct {
	URL     string        // of the store, or of the bundle in a registry
	Key     string        // of the document
	Digest  bundle.Digest // of the document
	Results string        // URL of the store of the record; "" is that of the document
}

// StepUsage is what [ParseStep] reads.
const StepUsage = "--url URL [--key KEY] --digest sha256:… [--result-url URL]"

// ParseStep reads the flags of "step execute".
func ParseStep(args []string) (*Step, error) {
	s, digest := &Step{}, ""
	flags := flag.NewFlagSet("step execute", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&s.URL, "url", "", "")
	flags.StringVar(&s.Key, "key", "", "")
	flags.StringVar(&digest, "digest", "", "")
	flags.StringVar(&s.Results, "result-url", "", "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.Key == "" && strings.HasPrefix(s.URL, execute.RegistryScheme) {
		s.Key = execute.RegistryKey
	}
	for _, f := range []struct{ name, value string }{{"url", s.URL}, {"key", s.Key}, {"digest", digest}} {
		if f.value == "" {
			return nil, errors.New("missing --" + f.name)
		}
	}
	var err error
	s.Digest, err = bundle.ParseDigest(digest)
	return s, err
}
