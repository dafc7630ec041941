package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
)

// configure makes the job configuration: it resolves the pool's base job template with the job
// variables of the run's deployment, if it has one, and of the run. Command is that of the executor;
// nil for a run that is not a bundle of flowship's.
func (a *attempt) configure(ctx context.Context, pool *orchestrator.WorkPool, command []string) (map[string]any, error) {
	template, err := launch.ParseTemplate(pool.BaseJobTemplate)
	if err != nil {
		return nil, fmt.Errorf("work pool %q: %w", pool.Name, err)
	}
	variables, err := a.variables(ctx)
	if err != nil {
		return nil, err
	}
	delete(variables, StorageAccess)
	if !template.Declares(Platform) {
		delete(variables, Platform)
	}
	given, _ := variables["command"].(string)
	line, ours := a.command(given, command)
	a.foreign = !ours && !strings.Contains(line, a.program())
	a.alone = !ours && given != "" && a.Run.DeploymentID != ""
	switch {
	case line != "" && template.Declares("command"):
		variables["command"] = line
	case given != "":
		delete(variables, "command") // the job has the executor's
	}
	var refs launch.References
	if a.References != nil {
		if refs, err = a.References(ctx); err != nil {
			return nil, err
		}
	}
	configuration, err := template.ResolveWith(ctx, variables, refs)
	if err != nil {
		return nil, fmt.Errorf("work pool %q: %w", pool.Name, err)
	}
	a.name(configuration)
	return configuration, nil
}

// programName is how a command line names the program that this is.
const programName = "flowship"

// program is where the job finds it.
func (a *attempt) program() string {
	if a.elsewhere != nil {
		return a.elsewhere.Program
	}
	return a.Executor[0]
}

// command is the line that the job is to run, and whether it calls this program. One that is given
// is an execution launcher's or Prefect's. Where it calls flowship, this program is meant, and a
// bundle of its own is executed with the digest that the run says.
func (a *attempt) command(given string, executor []string) (line string, ours bool) {
	words, err := launch.Split(given)
	switch {
	case err == nil && len(words) > 0 && words[0] == programName && a.Run.Bundle.Digest != "":
		return launch.Join(executor), true
	case err == nil && len(words) > 0 && words[0] == programName:
		return launch.Join(slices.Concat([]string{a.program()}, words[1:])), true
	case given != "":
		return given, false
	case executor != nil:
		return launch.Join(executor), true
	}
	return "prefect flow-run execute", false
}

// variables are the job variables of the deployment with those of the run over them; env is merged
// variable by variable.
func (a *attempt) variables(ctx context.Context) (map[string]any, error) {
	variables, err := decodeVariables(a.Run.JobVariables)
	if err != nil || a.Run.DeploymentID == "" {
		return variables, err
	}
	deployments, ok := a.Runs.(orchestrator.Deployments)
	if !ok {
		return variables, nil
	}
	deployment, err := deployments.Deployment(ctx, a.Run.DeploymentID)
	if err != nil {
		return nil, err
	}
	a.deployment = deployment
	merged, err := decodeVariables(deployment.JobVariables)
	if err != nil {
		return nil, fmt.Errorf("deployment %q: %w", deployment.Name, err)
	}
	under, _ := merged["env"].(map[string]any)
	over, _ := variables["env"].(map[string]any)
	maps.Copy(merged, variables)
	if under != nil && over != nil {
		env := maps.Clone(under)
		maps.Copy(env, over)
		merged["env"] = env
	}
	return merged, nil
}

func decodeVariables(text json.RawMessage) (map[string]any, error) {
	variables := map[string]any{}
	if len(text) == 0 || string(text) == "null" {
		return variables, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // as they were written
	if err := d.Decode(&variables); err != nil {
		return nil, fmt.Errorf("job variables: %w", err)
	}
	return variables, nil
}

// unlessConfigured are those of the variables, as "NAME=value", about which the job configuration
// says nothing.
func unlessConfigured(configuration map[string]any, variables []string) []string {
	configured, _ := configuration["env"].(map[string]any)
	return slices.DeleteFunc(variables, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, ok := configured[name]
		return ok
	})
}
