//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit"
)

// deed is what a flow of the test program is to do.
type deed struct {
	Do    string `json:"do"`
	Count int    `json:"count,omitempty"`
}

var (
	doFlow   = submit.NewFlow("do", do)
	sumFlow  = submit.NewFlow("sum", func(_ context.Context, in struct{ A, B int }) (int, error) { return in.A + in.B, nil })
	noneFlow = submit.NewFlow("none", func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
)

// flows are those that the test program runs where it is executed.
func flows() []submit.AnyFlow { return []submit.AnyFlow{doFlow, sumFlow, noneFlow, train, report} }

func do(ctx context.Context, in deed) (any, error) {
	switch in.Do {
	case "count":
		return in.Count, nil
	case "read":
		text, err := os.ReadFile("config.yaml")
		return string(text), err
	case "log":
		submit.Logger(ctx).Info("logged", "count", in.Count)
		fmt.Println("printed")
		return os.Getenv("FLOWSHIP_FLOW_RUN_ID"), nil
	case "environment":
		left := []string{}
		for _, name := range []string{"FLOWSHIP_FLOW", "FLOWSHIP_RESULT", "FLOWSHIP_FAILURE", "FLOWSHIP_LOGS", "FLOWSHIP_EXECUTES"} {
			if value, ok := os.LookupEnv(name); ok {
				left = append(left, name+"="+value)
			}
		}
		return left, nil
	case "fail":
		return nil, fmt.Errorf("no such dataset: %w", os.ErrNotExist)
	case "panic":
		panic("out of cheese")
	case "goexit":
		runtime.Goexit()
	case "exit":
		os.Exit(in.Count)
	case "nan":
		return math.NaN(), nil
	case "wait":
		fmt.Println("waiting")
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case "ignore":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("ignoring")
		select {}
	case "insist":
		fmt.Println("waiting")
		<-ctx.Done()
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {}
	case "nested":
		return sumFlow.Run(ctx, struct{ A, B int }{in.Count, 1})
	}
	return nil, errors.New("nothing to do")
}

// remote starts the test program as an executor would.
func remote(t *testing.T, flow, parameters string, env ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "parameters"), []byte(parameters), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(limited(t), os.Args[0])
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "FLOWSHIP_FLOW="+flow, "FLOWSHIP_PARAMETERS_FILE=parameters", "FLOWSHIP_RESULT=result", "FLOWSHIP_FAILURE=failure", "FLOWSHIP_LOGS=logs")
	cmd.Env = append(cmd.Env, env...)
	return cmd, dir
}

// left is what the program left, and its exit code.
type left struct {
	Code            int
	Result, Failure string
}

func leftBy(t *testing.T, cmd *exec.Cmd, err error) left {
	t.Helper()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	l := left{Code: cmd.ProcessState.ExitCode()}
	for name, to := range map[string]*string{"result": &l.Result, "failure": &l.Failure} {
		text, err := os.ReadFile(filepath.Join(cmd.Dir, name))
		if err == nil {
			*to = string(text)
		}
	}
	return l
}

func TestRemote(t *testing.T) {
	for _, test := range []struct {
		name, flow, parameters, env string
		want                        left
		stderr                      string
	}{
		{"result", "do", `{"do": "count", "count": 3}`, "", left{Result: "3"}, ""},
		{"no result", "none", `{}`, "", left{Result: "{}"}, ""},
		{"error", "do", `{"do": "fail"}`, "", left{Code: 1, Failure: "no such dataset: file does not exist"}, ""},
		{"panic", "do", `{"do": "panic"}`, "", left{Code: 1, Failure: "panic: out of cheese"}, "submit_test.do("},
		{"goroutine ended", "do", `{"do": "goexit"}`, "", left{Code: 1, Failure: "the flow ended its goroutine before it returned"}, ""},
		{"exit", "do", `{"do": "exit", "count": 7}`, "", left{Code: 7}, ""},
		{"not JSON", "do", `{"do": "nan"}`, "", left{Code: 1, Failure: "the result is not JSON: json: unsupported value: NaN"}, ""},
		{"unknown flow", "DO", `{}`, "", left{Code: 1, Failure: `the program has no flow "DO", did you mean "do"?`}, ""},
		{"wrong type", "do", `{"do": "count", "count": "few"}`, "", left{Code: 1, Failure: `parameter "count": want int, got "few"`}, ""},
		{"missing and unknown", "do", `{"dew": 1}`, "", left{Code: 1, Failure: `unknown parameter "dew"; missing parameter "do"`}, ""},
		{"no parameters there", "do", `{}`, "FLOWSHIP_PARAMETERS_FILE=none", left{Code: 1, Failure: "the parameters: open none: no such file or directory"}, ""},
		{"failure on stderr", "do", `{"do": "fail"}`, "FLOWSHIP_FAILURE=", left{Code: 1}, "no such dataset"},
		{"failure that cannot be written", "do", `{"do": "fail"}`, "FLOWSHIP_FAILURE=none/failure", left{Code: 1}, "no such dataset"},
		{"logs that cannot be written", "do", `{"do": "count"}`, "FLOWSHIP_LOGS=none/logs", left{Code: 1, Failure: "the file of logs: open none/logs: no such file or directory"}, ""},
		{"check", "do", `{"do": "fail"}`, "FLOWSHIP_CHECK=1", left{}, ""},
		{"check fails", "do", `{"do": 1}`, "FLOWSHIP_CHECK=1", left{Code: 1, Failure: `parameter "do": want string, got 1`}, ""},
		{"its environment", "do", `{"do": "environment"}`, "", left{Result: "[]"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, _ := remote(t, test.flow, test.parameters, test.env)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			if diff := cmp.Diff(test.want, leftBy(t, cmd, err)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, stderr.String())
			}
			if !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stderr %q", stderr.String())
			}
		})
	}
}

func TestRemoteLogs(t *testing.T) {
	cmd, dir := remote(t, "do", `{"do": "log", "count": 2}`)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Run(); err != nil || stdout.String() != "printed\n" {
		t.Errorf("%v, %q", err, stdout.String())
	}
	logs, err := os.ReadFile(filepath.Join(dir, "logs"))
	if err != nil || !strings.HasPrefix(string(logs), `{"level":20,"message":"logged count=2","timestamp":"`) || !strings.HasSuffix(string(logs), "\"}\n") {
		t.Errorf("%q, %v", logs, err)
	}
}

// TestRemoteSignals: the first signal ends the context, the second a flow that pays no attention.
func TestRemoteSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, dir := remote(t, "do", `{"do": "wait"}`)
		err := signalled(t, cmd, dir, "waiting", sig)
		if diff := cmp.Diff(left{Code: 1, Failure: sig.String() + " signal received"}, leftBy(t, cmd, err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", sig, diff)
		}
	}
	cmd, dir := remote(t, "do", `{"do": "ignore"}`)
	signalled(t, cmd, dir, "waiting", syscall.SIGINT, "ignoring", syscall.SIGTERM)
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
	// The second may come as soon as the first has ended the context.
	for range 10 {
		cmd, dir := remote(t, "do", `{"do": "insist"}`)
		signalled(t, cmd, dir, "waiting", syscall.SIGINT)
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
			t.Fatalf("ended with %v", cmd.ProcessState)
		}
	}
}

// signalled runs a command; after each word that it prints it gets the signal.
func signalled(t *testing.T, cmd *exec.Cmd, dir string, script ...any) error {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(script); i += 2 {
		until(t, fmt.Sprint("it prints ", script[i]), func() bool {
			text, _ := os.ReadFile(out.Name())
			return strings.Contains(string(text), script[i].(string)+"\n")
		})
		if err := cmd.Process.Signal(script[i+1].(syscall.Signal)); err != nil {
			t.Fatal(err)
		}
	}
	return cmd.Wait()
}

// twinsVariable has the test program call Main with what cannot be told apart.
const twinsVariable = "FLOWSHIP_TEST_TWINS"

func twins() {
	function := func(context.Context, struct{}) (int, error) { return 0, nil }
	first := submit.NewFlow("twin", function)
	// The same flow twice, bound or not, is one.
	submit.Main(first, first.On(submit.Infrastructure{WorkPool: "pool"}))
	if os.Getenv(twinsVariable) == "misnamed" {
		submit.Main(first, submit.NewFlow("a:b", function))
	}
	submit.Main(first, submit.NewFlow("twin", function))
}

func TestTwins(t *testing.T) {
	for which, want := range map[string]string{"1": `submit: two flows are named "twin": `, "misnamed": `its name contains ':'`} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), twinsVariable+"="+which)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v: %s", which, cmd.ProcessState, out)
		}
	}
	cmd, _ := remote(t, "twin", `{}`, twinsVariable+"=1")
	err := cmd.Run()
	// Where both are found under the first call of Main, that call decides.
	if diff := cmp.Diff(left{Result: "0"}, leftBy(t, cmd, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStepUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"step"}, "\"\" is no step"},
		{[]string{"step", "fetch"}, "\"fetch\" is no step"},
		{[]string{"step", "execute"}, "missing --digest, --key, --url"},
		{[]string{"step", "execute", "--url", "file:///", "--key", "k", "--digest", "?"}, "digest"},
		{[]string{"step", "execute", "--pace", "1"}, "flag provided but not defined: -pace"},
		{[]string{"step", "launch"}, "missing --id"},
		{[]string{"step", "deployment", "now"}, "unexpected [\"now\"]"},
		{[]string{"step", "launch", "--id", "1", "now"}, "unexpected [\"now\"]"},
	} {
		cmd := exec.Command(os.Args[0], test.args...)
		cmd.Env = append(os.Environ(), "FLOWSHIP_EXECUTES=1")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), test.want) {
			t.Errorf("%q: %v: %s", test.args, cmd.ProcessState, out)
		}
	}
}
