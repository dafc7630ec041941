package dockerinfra

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// healthcheck reads one as the API or as the library for Python writes it: test may be a line
// for a shell, times are nanoseconds.
func (r *request) healthcheck(source json.RawMessage) error {
	var given map[string]json.RawMessage
	if err := strict(source, &given); err != nil {
		return err
	}
	members := make(map[string]json.RawMessage, len(given))
	for name, value := range given {
		members[strings.ReplaceAll(strings.ToLower(name), "_", "")] = value
	}
	var line string
	if json.Unmarshal(members["test"], &line) == nil {
		test, err := json.Marshal([]string{"CMD-SHELL", line})
		if err != nil {
			return err
		}
		members["test"] = test
	}
	b, err := json.Marshal(members)
	if err != nil {
		return err
	}
	r.config.Healthcheck = &container.HealthConfig{}
	return strict(b, r.config.Healthcheck)
}

// deviceRequests reads them as the API or as the library for Python writes their members.
func (r *request) deviceRequests(source json.RawMessage) error {
	var elements []map[string]json.RawMessage
	if err := strict(source, &elements); err != nil {
		return err
	}
	for _, e := range elements {
		if ids, ok := e["device_ids"]; ok {
			delete(e, "device_ids")
			e["DeviceIDs"] = ids
		}
	}
	b, err := json.Marshal(elements)
	if err != nil {
		return err
	}
	return strict(b, &r.host.DeviceRequests)
}

// devices reads HOST[:CONTAINER[:PERMISSIONS]].
func (r *request) devices(source json.RawMessage) error {
	var devices []string
	if err := strict(source, &devices); err != nil {
		return err
	}
	for _, d := range devices {
		parts := strings.Split(d, ":")
		if len(parts) > 3 || !path.IsAbs(parts[0]) {
			return fmt.Errorf("%q is not HOST[:CONTAINER[:PERMISSIONS]]", d)
		}
		m := container.DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[0], CgroupPermissions: "rwm"}
		if len(parts) > 1 {
			m.PathInContainer = parts[1]
		}
		if len(parts) > 2 {
			m.CgroupPermissions = parts[2]
		}
		r.host.Devices = append(r.host.Devices, m)
	}
	return nil
}

func (r *request) sysctls(source json.RawMessage) error {
	var all map[string]json.RawMessage
	if err := strict(source, &all); err != nil {
		return err
	}
	r.host.Sysctls = map[string]string{}
	for name, value := range all {
		var s string
		if err := text(&s)(value); err != nil {
			return err
		}
		r.host.Sysctls[name] = s
	}
	return nil
}

// tmpfs reads an object of paths and options, or a list of PATH[:OPTIONS].
func (r *request) tmpfs(source json.RawMessage) error {
	if json.Unmarshal(source, &r.host.Tmpfs) == nil {
		return nil
	}
	var mounts []string
	if err := strict(source, &mounts); err != nil {
		return err
	}
	r.host.Tmpfs = map[string]string{}
	for _, m := range mounts {
		path, options, _ := strings.Cut(m, ":")
		r.host.Tmpfs[path] = options
	}
	return nil
}

func (r *request) onPlatform(source json.RawMessage) error {
	var s string
	if err := strict(source, &s); err != nil {
		return err
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return fmt.Errorf("%q is not OS[/ARCHITECTURE[/VARIANT]]", s)
	}
	parts = append(parts, "", "")
	r.platform = &ocispec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	return nil
}

// networkingConfig is about networks by name. Only the first of networks can have one.
func (r *request) networkingConfig(source json.RawMessage) error {
	var all map[string]*network.EndpointSettings
	if err := strict(source, &all); err != nil {
		return err
	}
	for name, settings := range all {
		if _, ok := r.networks[name]; !ok {
			return fmt.Errorf("the network %q is not the first one of networks", name)
		}
		if settings != nil {
			r.networks[name] = settings
		}
	}
	return nil
}

// ports reads an object of ports of the container and where they are published: null for
// anywhere, a port, "ADDRESS:PORT", [ADDRESS, PORT], or a list of such.
func (r *request) ports(source json.RawMessage) error {
	var all map[string]json.RawMessage
	if err := strict(source, &all); err != nil {
		return err
	}
	r.config.ExposedPorts, r.host.PortBindings = network.PortSet{}, network.PortMap{}
	for name, value := range all {
		port, err := network.ParsePort(name)
		if err != nil {
			return err
		}
		bindings, err := portBindings(value)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		r.config.ExposedPorts[port] = struct{}{}
		r.host.PortBindings[port] = bindings
	}
	return nil
}

func portBindings(source json.RawMessage) ([]network.PortBinding, error) {
	var elements []json.RawMessage
	if json.Unmarshal(source, &elements) != nil || elements == nil {
		b, err := portBinding(source)
		return []network.PortBinding{b}, err
	}
	var pair []json.RawMessage
	if len(elements) == 2 {
		var address string
		if json.Unmarshal(elements[0], &address) == nil {
			if _, err := netip.ParseAddr(address); err == nil {
				pair = elements
			}
		}
	}
	if pair != nil {
		b, err := portBinding(pair[1])
		if err == nil {
			var address string
			err = strict(pair[0], &address)
			b.HostIP, _ = netip.ParseAddr(address)
		}
		return []network.PortBinding{b}, err
	}
	var bindings []network.PortBinding
	for _, e := range elements {
		b, err := portBinding(e)
		if err != nil {
			return nil, err
		}
		bindings = append(bindings, b)
	}
	return bindings, nil
}

func portBinding(source json.RawMessage) (network.PortBinding, error) {
	var b network.PortBinding
	var s string
	if string(source) == "null" {
		return b, nil
	}
	if err := text(&s)(source); err != nil {
		return b, err
	}
	if colon := strings.LastIndexByte(s, ':'); colon >= 0 {
		address, err := netip.ParseAddr(strings.Trim(s[:colon], "[]"))
		if err != nil {
			return b, err
		}
		b.HostIP, s = address, s[colon+1:]
	}
	if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 {
		return b, fmt.Errorf("%q is not a port", s)
	}
	b.HostPort = s
	return b, nil
}
