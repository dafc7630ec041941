package dockerinfra

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
)

// proxies gives the container the proxies that the docker command's configuration has for
// containers of the engine, as "docker run" and Prefect's worker do. What the job says about a variable
// itself, also that it is unset, counts.
func (p *plan) proxies(host string) {
	file, err := config.Load(configDir())
	if err != nil {
		fmt.Fprintf(p.notes, "docker: no proxies for the container: the docker command's configuration: %v\n", err)
		return
	}
	said := map[string]*string{}
	for _, v := range p.request.config.Env {
		name, value, _ := strings.Cut(v, "=")
		said[name] = &value
	}
	all := file.ParseProxyConfig(host, maps.Clone(said))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, ok := said[name]; !ok && all[name] != nil {
			p.request.config.Env = append(p.request.config.Env, name+"="+*all[name])
		}
	}
}
