package kubernetesinfra

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowship/flowship/launch"
)

// A manifest that is taken keeps secrets out, runs the command, has what makes it one of a kind,
// and does not depend on what was made of it before.
func FuzzManifest(f *testing.F) {
	const plain = `{"apiVersion":"batch/v1","kind":"Job","metadata":{"generateName":"a b-","labels":{"x y":"z"}},"spec":{"backoffLimit":0,"template":{"spec":{"restartPolicy":"Never","parallelism":1,"containers":[{"name":"prefect-job","env":[{"name":"A","value":"1"}]}]}}}}`
	f.Add(plain, `{"A": "2", "N": null}`, "x 'y z'", "team", "blue team", "s3cr3t-value")
	f.Add(plain, `[{"name":"S","valueFrom":{"secretKeyRef":{"name":"n","key":"k"}}}]`, "", "prefect.io/flow", "", "$(A)$$s3cr3t")
	f.Add(strings.Replace(plain, `"metadata":{`, `"metadata":{"name":"fixed","annotations":{"a":3,"b":null},`, 1), `{}`, "", "a/b/c", "é", "s3cr3t\nline")
	f.Add(strings.Replace(plain, `"env":[{`, `"volumeMounts":3,"args":["a"],"env":[3,{`, 1), `{}`, `"`, "/", "/", "s3cr3t")
	f.Fuzz(func(t *testing.T, manifest, env, command, label, value, secret string) {
		driver := New(&Options{ExecutorImage: "executor:1"})
		job := &launch.Job{
			Configuration: map[string]any{"job_manifest": json.RawMessage(manifest), "env": json.RawMessage(env), "labels": map[string]string{label: value}},
			Command:       []string{"run", command}, Env: []string{"PREFECT_API_KEY=" + secret, "MINE=" + secret}, Secrets: []string{"MINE"},
		}
		first, err := driver.plan(job)
		if err != nil {
			return
		}
		first.mark("0123456789abcdefghijklmnop")
		b, err := json.Marshal(first.manifest)
		if err != nil {
			t.Fatal(err)
		}
		second, err := driver.plan(job)
		if err != nil {
			t.Fatal(err)
		}
		second.mark("0123456789abcdefghijklmnop")
		if again, err := json.Marshal(second.manifest); err != nil || !bytes.Equal(b, again) {
			t.Errorf("the second time %s, %v\nwant %s", again, err, b)
		}
		if first.secrets["PREFECT_API_KEY"] != secret || first.secrets["MINE"] != secret {
			t.Errorf("secrets %q", first.secrets)
		}
		if len(secret) > 5 && bytes.Contains(b, []byte(secret)) && !strings.Contains(manifest+env+command+label+value, secret) {
			t.Errorf("a secret is in %s", b)
		}
		if first.jobName() == "" || first.token() == "" {
			t.Errorf("name %q, token %q", first.jobName(), first.token())
		}
		m, err := parseManifest(b)
		if err != nil {
			t.Fatalf("what was made of it is refused: %v", err)
		}
		if args, ok := m.container["args"].([]any); !ok {
			t.Errorf("arguments %v", m.container["args"])
		} else if strings.Contains(manifest, "args") == false && (len(args) != 2 || args[0] != "run" || args[1] != verbatim(strings.ToValidUTF8(command, "\ufffd"))) {
			t.Errorf("arguments %q", args)
		}
	})
}

// A label is one that Kubernetes takes, or as it was; what has been made stays as it is.
func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "a/b", "My Flow", "é&amp;3,0", "---", "prefect.io/x_y", strings.Repeat("a-", 200), "_._", "'", "\xff"} {
		f.Add(s)
	}
	good := regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	name := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?$`)
	f.Fuzz(func(t *testing.T, s string) {
		if v := labelValue(s); v != s && !good.MatchString(v) {
			t.Errorf("value %q", v)
		} else if again := labelValue(v); good.MatchString(v) && again != v {
			t.Errorf("value %q becomes %q", v, again)
		}
		_, key, domain := strings.Cut(labelKey(s), "/")
		if !domain {
			key = labelKey(s)
		}
		if _, given, ok := strings.Cut(s, "/"); !good.MatchString(key) && key != s && !(ok && key == given) {
			t.Errorf("key %q", labelKey(s))
		}
		if n := jobName(s); n != "" && !name.MatchString(n) {
			t.Errorf("name %q", n)
		}
	})
}

// However a log stream is broken, its lines are passed on once and whole.
func FuzzLog(f *testing.F) {
	f.Add("one\ntwo\n\nthree", []byte{3, 90, 200, 4}, []byte{0, 0, 1, 9})
	f.Add(strings.Repeat("x", 300)+"\nend\n", []byte{1, 255, 31}, []byte{0})
	f.Add("same\nsame\nsame\n", []byte{60, 60}, []byte{0})
	f.Fuzz(func(t *testing.T, content string, cuts, gaps []byte) {
		var want bytes.Buffer
		l := &podLog{output: newOutput(&want, io.Discard)}
		got := &bytes.Buffer{}
		l.to = got
		stream := stamped(content, gaps)
		for _, cut := range cuts {
			// The kubelet leaves out what is older than the second that it is asked for.
			rest := after(stream, l)
			if err := l.pass(bytes.NewReader(rest[:min(int(cut)*3, len(rest))])); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.pass(bytes.NewReader(after(stream, l))); err != nil {
			t.Fatal(err)
		}
		if got.String() != content {
			t.Errorf("%q, want %q", got, content)
		}
	})
}

// What the kubelet says about itself is no output, and does no harm.
func FuzzLogNoise(f *testing.F) {
	f.Add([]byte("unable to retrieve container logs for containerd://x\n"))
	f.Add([]byte("2026-01-02T03:04:05.000000006Z a\nnoise\n2026-01-02T03:04:05Z b"))
	f.Add([]byte(" \n\n  x"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out, notes bytes.Buffer
		l := &podLog{output: newOutput(&out, &notes)}
		for range 2 {
			if err := l.pass(bytes.NewReader(stream)); err != nil {
				t.Fatal(err)
			}
		}
		if out.Len() > len(stream) {
			t.Errorf("%q of %q", out.Bytes(), stream)
		}
		if slices.Contains(notes.Bytes(), 0) && !slices.Contains(stream, 0) {
			t.Errorf("notes %q", notes.Bytes())
		}
	})
}
