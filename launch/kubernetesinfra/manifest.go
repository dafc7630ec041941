package kubernetesinfra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/flowship/flowship/launch"
)

// manifest is a Job's manifest. It stays what JSON it is: what this program's version of
// Kubernetes does not know reaches the API server all the same.
type manifest struct {
	root, metadata, spec          map[string]any
	pod, podMetadata, podTemplate map[string]any
	container                     map[string]any
}

// mainContainer is what Prefect calls the container in which a flow runs. It is the first one.
const mainContainer = "prefect-job"

// parseManifest refuses what Prefect refuses, but for parallelism and completions: Prefect wants
// them in the pod's specification, where they mean nothing. They are put where they belong.
func parseManifest(source json.RawMessage) (*manifest, error) {
	m := &manifest{}
	if len(source) == 0 || string(source) == "null" {
		return nil, errors.New("there is none")
	}
	if err := decode(source, &m.root); err != nil {
		return nil, errors.New("it is not an object")
	}
	if err := fixed(m.root, "", "apiVersion", "batch/v1"); err != nil {
		return nil, err
	}
	if err := fixed(m.root, "", "kind", "Job"); err != nil {
		return nil, err
	}
	var err error
	if m.metadata, err = object(m.root, "/metadata", true); err != nil {
		return nil, err
	}
	if m.spec, err = object(m.root, "/spec", false); err != nil {
		return nil, err
	}
	if m.podTemplate, err = object(m.spec, "/spec/template", false); err != nil {
		return nil, err
	}
	if m.podMetadata, err = object(m.podTemplate, "/spec/template/metadata", true); err != nil {
		return nil, err
	}
	if m.pod, err = object(m.podTemplate, "/spec/template/spec", false); err != nil {
		return nil, err
	}
	if err := fixed(m.pod, "/spec/template/spec", "restartPolicy", "Never"); err != nil {
		return nil, err
	}
	for _, number := range []string{"parallelism", "completions"} {
		for place, in := range map[string]map[string]any{"/spec": m.spec, "/spec/template/spec": m.pod} {
			if v, ok := in[number]; ok && fmt.Sprint(v) != "1" {
				return nil, fmt.Errorf("%s/%s must have the value 1", place, number)
			}
		}
		delete(m.pod, number)
	}
	containers, _ := m.pod["containers"].([]any)
	if len(containers) == 0 {
		return nil, errors.New("it has no /spec/template/spec/containers/0")
	}
	var ok bool
	if m.container, ok = containers[0].(map[string]any); !ok {
		return nil, errors.New("/spec/template/spec/containers/0 is not an object")
	}
	return m, fixed(m.container, "/spec/template/spec/containers/0", "name", mainContainer)
}

// object returns what is at the end of the path, which is made if it may be missing.
func object(in map[string]any, path string, make bool) (map[string]any, error) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	v := in[name]
	if v == nil && make {
		made := map[string]any{}
		in[name] = made
		return made, nil
	}
	if o, ok := v.(map[string]any); ok {
		return o, nil
	}
	if v == nil {
		return nil, fmt.Errorf("it has no %s", path)
	}
	return nil, fmt.Errorf("%s is not an object", path)
}

func fixed(in map[string]any, path, name, want string) error {
	if v, ok := in[name]; !ok {
		return fmt.Errorf("it has no %s/%s", path, name)
	} else if v != want {
		return fmt.Errorf("%s/%s must have the value %q", path, name, want)
	}
	return nil
}

// label puts labels and annotations on the Job and its pod.
func (m *manifest) label(labels, configured, annotations map[string]string) {
	ours := maps.Clone(labels)
	if ours == nil {
		ours = map[string]string{}
	}
	maps.Copy(ours, configured)
	for _, metadata := range []map[string]any{m.metadata, m.podMetadata} {
		made := map[string]any{}
		for key, value := range texts(metadata["labels"]) {
			made[labelKey(key)] = labelValue(value)
		}
		for _, key := range slices.Sorted(maps.Keys(ours)) {
			made[labelKey(key)] = labelValue(ours[key])
		}
		metadata["labels"] = made
	}
	// The annotations of the Job are also its pod's.
	made := map[string]any{}
	for _, some := range []map[string]string{texts(m.metadata["annotations"]), annotations} {
		for _, key := range slices.Sorted(maps.Keys(some)) {
			made[labelKey(key)] = some[key]
		}
	}
	m.metadata["annotations"] = made
	if len(made) == 0 {
		return
	}
	pod := map[string]any{}
	for key, value := range texts(m.podMetadata["annotations"]) {
		pod[key] = value
	}
	maps.Copy(pod, made)
	m.podMetadata["annotations"] = pod
}

// texts are the members of an object as texts.
func texts(v any) map[string]string {
	o, _ := v.(map[string]any)
	made := make(map[string]string, len(o))
	for key, value := range o {
		if s, ok := value.(string); ok {
			made[key] = s
		} else if value != nil {
			b, err := json.Marshal(value)
			if err == nil {
				made[key] = string(b)
			}
		}
	}
	return made
}

// verbatim is a text in which Kubernetes replaces no $(NAME): the job gets it as it is.
func verbatim(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// command is the container's arguments; with them, the image's entry point is kept.
func (m *manifest) command(job *launch.Job, line string) error {
	switch args := m.container["args"].(type) {
	case []any:
		return nil // the template's own
	case string:
		line = args
	case nil:
	default:
		return errors.New("job_manifest: args is neither a line nor a list")
	}
	words, err := job.Argv(line, launch.Split)
	if err != nil {
		return err
	}
	configured, err := launch.Split(line)
	args := make([]any, len(words))
	for i, word := range words {
		if args[i] = word; err == nil && len(configured) == 0 {
			args[i] = verbatim(word)
		}
	}
	m.container["args"] = args
	return nil
}

// readEnv takes the configured variables apart: those with a value, those that take their value
// from elsewhere in the cluster.
func readEnv(source json.RawMessage) (values map[string]*string, special []any, err error) {
	if len(source) == 0 {
		return nil, nil, nil
	}
	var list []map[string]any
	if decode(source, &list) != nil {
		if err := json.Unmarshal(source, &values); err != nil {
			return nil, nil, errors.New("env: it is neither an object of texts nor a list of variables")
		}
		return values, nil, nil
	}
	values = map[string]*string{}
	for i, v := range list {
		name, ok := v["name"].(string)
		if !ok || name == "" {
			return nil, nil, fmt.Errorf("env: the variable %d has no name", i)
		}
		if _, ok := v["valueFrom"]; ok {
			special = append(special, v)
			continue
		}
		if value, ok := v["value"].(string); ok {
			values[name] = &value
		}
	}
	return values, special, nil
}

// secretNames are those that Prefect has secrets in.
var secretNames = []string{"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"}

var secretKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,200}$`) })

// env writes the container's variables: first ours and the configured ones, then those of the
// template that have other names. Secret values are put into secrets, and are not in the manifest.
func (m *manifest) env(job *launch.Job, set []string, special []any, configured map[string]*string, secrets map[string]string) {
	fromJob := map[string]bool{}
	for _, v := range job.Env {
		name, _, _ := strings.Cut(v, "=")
		fromJob[name] = true
	}
	var all []any
	taken := map[string]bool{}
	for _, v := range set {
		name, value, _ := strings.Cut(v, "=")
		taken[name] = true
		entry := map[string]any{"name": name}
		switch {
		case slices.Contains(secretNames, name) || slices.Contains(job.Secrets, name):
			key := name
			if !secretKey().MatchString(name) {
				key = fmt.Sprintf("variable-%d", len(secrets))
			}
			secrets[key] = value
			entry["valueFrom"] = map[string]any{"secretKeyRef": map[string]any{"key": key}} // the Secret's name comes with the Job's
		case fromJob[name]:
			entry["value"] = verbatim(value)
		default:
			entry["value"] = value
		}
		all = append(all, entry)
	}
	for _, v := range special {
		if name, _ := v.(map[string]any)["name"].(string); !taken[name] {
			taken[name] = true
			all = append(all, v)
		}
	}
	theirs, _ := m.container["env"].([]any)
	if m.triesAgain() || !taken[onTerm] && !slices.ContainsFunc(theirs, isOnTerm) {
		taken[onTerm] = true
		all = m.onTerm(all)
	}
	for _, v := range theirs {
		entry, _ := v.(map[string]any)
		name, _ := entry["name"].(string)
		if off, ok := configured[name]; !taken[name] && !(ok && off == nil) {
			taken[name] = true
			all = append(all, v)
		}
	}
	m.container["env"] = all
}

// onTerm names the variable that tells Prefect's executor what to do when its pod is evicted.
const onTerm = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"

func isOnTerm(v any) bool {
	entry, _ := v.(map[string]any)
	return entry["name"] == onTerm
}

// triesAgain reports whether Kubernetes makes another pod when one fails.
func (m *manifest) triesAgain() bool { return fmt.Sprint(m.spec["backoffLimit"]) != "0" }

// onTerm has the run scheduled again, unless Kubernetes tries again by itself.
func (m *manifest) onTerm(env []any) []any {
	behaviour := "reschedule"
	if m.triesAgain() {
		behaviour = "relinquish"
	}
	return append(slices.DeleteFunc(env, isOnTerm), map[string]any{"name": onTerm, "value": behaviour})
}

func (m *manifest) image(otherwise string) {
	if image, ok := m.container["image"].(string); ok && image != "" {
		return
	}
	if otherwise == "" {
		otherwise = DefaultImage
	}
	m.container["image"] = otherwise
}

// Where a job finds an executor that did not come with its image.
const (
	executorDir  = "/flowship"
	executorFile = executorDir + "/flowship"
	executorName = "flowship"
	imageFile    = "/usr/local/bin/flowship" // where images have it that flowship builds
)

// executor has the executor copied from its own image into the pod.
func (m *manifest) executor(image string) {
	if image == "" {
		return
	}
	add := func(in map[string]any, name string, v any) {
		list, _ := in[name].([]any)
		in[name] = append(slices.Clone(list), v)
	}
	mount := func(readOnly bool) any {
		return map[string]any{"name": executorName, "mountPath": executorDir, "readOnly": readOnly}
	}
	add(m.pod, "volumes", map[string]any{"name": executorName, "emptyDir": map[string]any{}})
	container := map[string]any{
		"name": executorName, "image": image,
		"command":      []any{"cp", imageFile, executorFile},
		"volumeMounts": []any{mount(false)},
	}
	if policy, ok := m.container["imagePullPolicy"]; ok {
		container["imagePullPolicy"] = policy
	}
	add(m.pod, "initContainers", container)
	add(m.container, "volumeMounts", mount(true))
	if args, ok := m.container["args"].([]any); ok && len(args) > 0 && (args[0] == executorName || args[0] == imageFile) {
		args[0] = executorFile
	}
}
