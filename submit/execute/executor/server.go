package executor

import (
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// Server is the Prefect server that the settings of the environment name. It is connected to when
// it is first needed.
type Server struct {
	settings *prefect.Settings
	client   *prefect.Client // nil before
}

// Discover reads the settings, and has their warnings told.
func Discover(warn func(string)) (*Server, error) {
	settings, err := prefect.Discover(nil)
	if err != nil {
		return nil, err
	}
	for _, w := range settings.Warnings {
		if warn != nil {
			warn(w)
		}
	}
	return &Server{settings: settings}, nil
}

// Connect returns the client; without a server that is prefect.ErrNoAPI.
func (s *Server) Connect() (_ *prefect.Client, err error) {
	if s.client == nil {
		s.client, err = prefect.Open(s.settings)
	}
	return s.client, err
}

// Close releases what was opened.
func (s *Server) Close() {
	if s.client != nil {
		s.client.Close()
	}
}
