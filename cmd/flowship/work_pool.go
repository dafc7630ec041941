package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func newWorkPoolCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "work-pool",
		Aliases: []string{"work-pools"},
		Short:   "Make, list, change and delete work pools",
		Long: `A work pool is a place where flow runs wait for workers, and says how they are
launched: by its type and its base job template, whose variables -v sets for one
run. The embedded default's work pool local, of type process, is made when it is first
needed. On a Prefect server, runs only count where there is a limit.`,
	}
	group(cmd)
	cmd.AddCommand(
		newWorkPoolCreateCommand(c), newWorkPoolLsCommand(c), newWorkPoolInspectCommand(c), newWorkPoolUpdateCommand(c),
		newWorkPoolPauseCommand(c), newWorkPoolResumeCommand(c), newSetConcurrencyLimitCommand(c), newClearConcurrencyLimitCommand(c),
		newSetDefaultCommand(c), newDefaultTemplateCommand(c), newWorkPoolStorageCommand(c), newWorkPoolDeleteCommand(c),
	)
	return cmd
}

// withWorkPool makes one call about the pool called name and prints what it is then: the name
// alone, or JSON as of inspect.
func (c *console) withWorkPool(ctx context.Context, name string, call func(*submit.Client) error) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := call(client); err != nil {
		return aboutWorkPool(err)
	}
	if !c.json {
		return c.print(func(w *bufio.Writer) { w.WriteString(shown(name) + "\n") })
	}
	return c.printWorkPool(ctx, client, name)
}

// printWorkPool prints the JSON of work-pool inspect.
func (c *console) printWorkPool(ctx context.Context, client *submit.Client, name string) error {
	pool, workers, err := lookUpWorkPool(ctx, client, name)
	if err != nil {
		return aboutWorkPool(err)
	}
	return c.printJSON(describeWorkPool(pool, workers))
}

// changeWorkPool makes one change of a pool.
func (c *console) changeWorkPool(ctx context.Context, name string, change orchestrator.WorkPoolChange) error {
	return c.withWorkPool(ctx, name, func(client *submit.Client) error { return client.ChangeWorkPool(ctx, name, change) })
}

func lookUpWorkPool(ctx context.Context, client *submit.Client, name string) (*orchestrator.WorkPool, []orchestrator.Worker, error) {
	pool, err := client.WorkPool(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	workers, err := client.Workers(ctx, name)
	return pool, workers, err
}

// workPoolJSON is a work pool in a list.
type workPoolJSON struct {
	Name             string                      `json:"name"`
	Type             string                      `json:"type"`
	Status           orchestrator.WorkPoolStatus `json:"status"`
	Paused           bool                        `json:"is_paused"`
	ConcurrencyLimit *int                        `json:"concurrency_limit"`
	ActiveSlots      int                         `json:"active_slots"`
	Default          bool                        `json:"is_default"`
	Description      string                      `json:"description"`
}

// wholeWorkPoolJSON is all that is known about one.
type wholeWorkPoolJSON struct {
	workPoolJSON
	ID              string          `json:"id"`
	BaseJobTemplate json.RawMessage `json:"base_job_template"`
	Storage         json.RawMessage `json:"storage_configuration"` // null without one
	Created         time.Time       `json:"created"`
	Updated         time.Time       `json:"updated"`
	Workers         []workerJSON    `json:"workers"`
}

type workerJSON struct {
	Name     string    `json:"name"`
	LastSeen time.Time `json:"last_seen"`
}

func listedWorkPool(p *orchestrator.WorkPool) workPoolJSON {
	return workPoolJSON{p.Name, p.Type, p.Status, p.Paused, p.ConcurrencyLimit, p.ActiveSlots, p.Default, p.Description}
}

func describeWorkPool(p *orchestrator.WorkPool, workers []orchestrator.Worker) wholeWorkPoolJSON {
	whole := wholeWorkPoolJSON{
		workPoolJSON: listedWorkPool(p), ID: p.ID, BaseJobTemplate: p.BaseJobTemplate, Storage: p.Storage,
		Created: p.Created, Updated: p.Updated, Workers: []workerJSON{},
	}
	for _, w := range workers {
		whole.Workers = append(whole.Workers, workerJSON{w.Name, w.LastSeen})
	}
	return whole
}

// statusCell is a work pool's status in its colour.
func statusCell(s orchestrator.WorkPoolStatus) cell {
	switch s {
	case orchestrator.WorkPoolReady:
		return cell{"Ready", green}
	case orchestrator.WorkPoolNotReady:
		return cell{"Not ready", yellow}
	case orchestrator.WorkPoolPaused:
		return cell{"Paused", dim}
	}
	return text(shown(string(s)))
}

// slots are the runs that count against the limit, and the limit. A Prefect server counts them
// for the sake of the limit only.
func (c *console) slots(p *orchestrator.WorkPool) string {
	if c.onPrefect && p.ConcurrencyLimit == nil {
		return ""
	}
	s := strconv.Itoa(p.ActiveSlots)
	if p.ConcurrencyLimit != nil {
		s += " of " + strconv.Itoa(*p.ConcurrencyLimit)
	}
	return s
}

const typeHint = "runs are launched as local processes, in containers and on Kubernetes: --type process, docker or kubernetes"

func errNoPoolType() error {
	return usagef("--type process, docker or kubernetes; on a Prefect server also ecs and what else it knows", "missing --type")
}

const typeHelp = "the type `T` of infrastructure: process, docker or kubernetes; on a Prefect server also ecs, cloud-run-v2, vertex-ai, azure-container-instance and what else it knows"

// aboutWorkPool gives errors about work pools their hints.
func aboutWorkPool(err error) error {
	hint := ""
	switch {
	case errors.Is(err, orchestrator.ErrNoWorkPool):
		hint = "flowship work-pool ls shows those that there are, work-pool create makes one"
	case errors.Is(err, orchestrator.ErrExists):
		hint = "--overwrite changes it, and keeps its storage configuration"
	case errors.Is(err, submit.ErrNoDriver):
		return &hinted{err: err, hint: typeHint, embedded: true}
	default:
		return unavailable(err)
	}
	return &hinted{err: err, hint: hint}
}

// concurrencyLimit reads a limit.
func concurrencyLimit(arg string) (*int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 0 {
		return nil, usagef("flowship work-pool clear-concurrency-limit removes a limit", "%q is not a limit: want a number from 0", arg)
	}
	return &n, nil
}

// readTemplate reads a base job template from a file; none is nil.
func (c *console) readTemplate(ctx context.Context, file string) (json.RawMessage, error) {
	if file == "" {
		return nil, nil
	}
	source, err := readInput(ctx, file, c.in)
	if err != nil {
		return nil, err
	}
	if !json.Valid(source) {
		return nil, usagef("", "--base-job-template %q is not JSON", file)
	}
	return source, nil
}
