package dockerinfra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/flowship/flowship/launch"
)

// request is what the engine is asked to create.
type request struct {
	config   container.Config
	host     container.HostConfig
	networks map[string]*network.EndpointSettings
	platform *ocispec.Platform
}

// kwargs are the options of container_create_kwargs: what Docker's library for Python calls them,
// and where they go. A pointer is filled with the JSON value as it is, a function reads it.
func (r *request) kwargs() map[string]any {
	c, h := &r.config, &r.host
	return map[string]any{
		"domainname": &c.Domainname, "hostname": &c.Hostname, "network_disabled": &c.NetworkDisabled,
		"stdin_open": &c.OpenStdin, "stop_signal": &c.StopSignal, "tty": &c.Tty, "working_dir": &c.WorkingDir,
		"entrypoint": words(&c.Entrypoint), "user": text(&c.User), "healthcheck": r.healthcheck, "ports": r.ports,
		"platform": r.onPlatform, "networking_config": r.networkingConfig,
		"blkio_weight": &h.BlkioWeight, "blkio_weight_device": &h.BlkioWeightDevice, "cap_add": &h.CapAdd, "cap_drop": &h.CapDrop,
		"cgroup_parent": &h.CgroupParent, "cgroupns": &h.CgroupnsMode, "cpu_count": &h.CPUCount, "cpu_percent": &h.CPUPercent,
		"cpu_period": &h.CPUPeriod, "cpu_quota": &h.CPUQuota, "cpu_rt_period": &h.CPURealtimePeriod, "cpu_rt_runtime": &h.CPURealtimeRuntime,
		"cpu_shares": &h.CPUShares, "cpuset_cpus": &h.CpusetCpus, "cpuset_mems": &h.CpusetMems, "device_cgroup_rules": &h.DeviceCgroupRules,
		"device_read_bps": &h.BlkioDeviceReadBps, "device_read_iops": &h.BlkioDeviceReadIOps,
		"device_write_bps": &h.BlkioDeviceWriteBps, "device_write_iops": &h.BlkioDeviceWriteIOps,
		"device_requests": r.deviceRequests, "devices": r.devices, "dns": &h.DNS, "dns_opt": &h.DNSOptions, "dns_search": &h.DNSSearch,
		"extra_hosts": pairs(&h.ExtraHosts), "group_add": texts(&h.GroupAdd), "init": &h.Init, "ipc_mode": &h.IpcMode,
		"isolation": &h.Isolation, "links": pairs(&h.Links), "log_config": &h.LogConfig, "mem_reservation": size(&h.MemoryReservation),
		"mem_swappiness": &h.MemorySwappiness, "mounts": &h.Mounts, "nano_cpus": &h.NanoCPUs, "oom_kill_disable": &h.OomKillDisable,
		"oom_score_adj": &h.OomScoreAdj, "pid_mode": &h.PidMode, "pids_limit": &h.PidsLimit, "publish_all_ports": &h.PublishAllPorts,
		"read_only": &h.ReadonlyRootfs, "restart_policy": &h.RestartPolicy, "runtime": &h.Runtime, "security_opt": &h.SecurityOpt,
		"shm_size": size(&h.ShmSize), "storage_opt": &h.StorageOpt, "sysctls": r.sysctls, "tmpfs": r.tmpfs, "ulimits": &h.Ulimits,
		"userns_mode": &h.UsernsMode, "uts_mode": &h.UTSMode, "volume_driver": &h.VolumeDriver, "volumes_from": list(&h.VolumesFrom),
	}
}

// ownVariables are those that have a job variable of their own, which counts, whatever
// container_create_kwargs says. So it is in Prefect's worker.
var ownVariables = []string{
	"auto_remove", "command", "env", "image", "image_pull_policy", "labels", "mem_limit", "memswap_limit", "name", "network_mode", "networks",
	"privileged", "registry_credentials", "stream_output", "volumes",
}

// apply sets what container_create_kwargs says. Null is no value.
func (r *request) apply(kwargs map[string]json.RawMessage, notes io.Writer) error {
	known := r.kwargs()
	for _, name := range slices.Sorted(maps.Keys(kwargs)) {
		value := kwargs[name]
		if slices.Contains(ownVariables, name) {
			fmt.Fprintf(notes, "docker: %q in container_create_kwargs is without effect: there is a job variable of that name\n", name)
			continue
		}
		into, ok := known[name]
		if !ok {
			return unknown(name, maps.Keys(known))
		}
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			continue
		}
		read, ok := into.(func(json.RawMessage) error)
		if !ok {
			read = func(v json.RawMessage) error { return strict(v, into) }
		}
		if err := read(value); err != nil {
			return fmt.Errorf("container_create_kwargs: %q: %w", name, err)
		}
	}
	return nil
}

func unknown(name string, known func(func(string) bool)) error {
	if variable, ok := map[string]string{"environment": "env", "network": "networks"}[name]; ok {
		return fmt.Errorf("container_create_kwargs: %q: use the job variable %q", name, variable)
	}
	if near := launch.Nearest(name, known); near != "" {
		return fmt.Errorf("container_create_kwargs: unknown option %q: did you mean %q?", name, near)
	}
	return fmt.Errorf("container_create_kwargs: unknown option %q", name)
}

// strict reads JSON that has no members but those of the type.
func strict(source json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(source))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("want %s, got %s", wrong.Type, wrong.Value)
	}
	return err
}

type reader = func(json.RawMessage) error

func size(into *int64) reader {
	return func(source json.RawMessage) error {
		var s string
		if err := text(&s)(source); err != nil {
			return err
		}
		n, err := parseSize(s)
		if err == nil && n < 0 {
			err = fmt.Errorf("%q is below zero", s)
		}
		*into = n
		return err
	}
}

// text reads a text or a number.
func text(into *string) reader {
	return func(source json.RawMessage) error {
		var n json.Number
		if json.Unmarshal(source, &n) == nil && source[0] != '"' {
			*into = n.String()
			return nil
		}
		return strict(source, into)
	}
}

func texts(into *[]string) reader {
	return func(source json.RawMessage) error {
		var elements []json.RawMessage
		if err := strict(source, &elements); err != nil {
			return err
		}
		for _, e := range elements {
			var s string
			if err := text(&s)(e); err != nil {
				return err
			}
			*into = append(*into, s)
		}
		return nil
	}
}

// words reads a command line or a list.
func words(into *[]string) reader {
	return func(source json.RawMessage) error {
		var line string
		if json.Unmarshal(source, &line) != nil {
			return strict(source, into)
		}
		var err error
		*into, err = launch.Split(line)
		return err
	}
}

// list reads a list, or one with commas in a text.
func list(into *[]string) reader {
	return func(source json.RawMessage) error {
		var line string
		if json.Unmarshal(source, &line) == nil {
			*into = strings.Split(line, ",")
			return nil
		}
		return strict(source, into)
	}
}

// pairs reads what is an object, a list of pairs or a list of texts with a colon within.
func pairs(into *[]string) reader {
	return func(source json.RawMessage) error {
		var object map[string]string
		if json.Unmarshal(source, &object) == nil {
			for _, key := range slices.Sorted(maps.Keys(object)) {
				*into = append(*into, key+":"+object[key])
			}
			return nil
		}
		var elements []json.RawMessage
		if err := strict(source, &elements); err != nil {
			return err
		}
		for _, e := range elements {
			var pair []string
			var s string
			switch {
			case json.Unmarshal(e, &s) == nil && strings.Contains(s, ":"):
			case json.Unmarshal(e, &pair) == nil && len(pair) == 2:
				s = pair[0] + ":" + pair[1]
			default:
				return fmt.Errorf("%s is not a pair", e)
			}
			*into = append(*into, s)
		}
		return nil
	}
}

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
