package dockerinfra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
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
