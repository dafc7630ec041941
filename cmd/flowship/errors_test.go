package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// A signal explains an error that it caused, and no other.
func TestFailInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const interrupted = `{"error":{"kind":"unavailable","message":"interrupted","hint":""}}` + "\n"
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"its own", ctx.Err(), exitInterrupted, interrupted},
		{"of a backend", unavailable(fmt.Errorf("submit: %w", ctx.Err())), exitInterrupted, interrupted},
		{"another", &hinted{err: errors.New("disk full"), kind: kindUnavailable}, exitUnavailable, `{"error":{"kind":"unavailable","message":"disk full","hint":""}}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			c := &console{out: &out, err: &errs, json: true}
			code := c.fail(ctx, newRunCommand(c), test.err)
			if diff := cmp.Diff(test.want, errs.String()); diff != "" || code != test.code {
				t.Errorf("code %d, want %d; stderr (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}

// What is wrong with the directory does not hide how the command ended.
func TestPrintRunWarns(t *testing.T) {
	var out, errs bytes.Buffer
	c := &console{out: &out, err: &errs, json: true}
	run := &submit.Run{State: orchestrator.NewState(orchestrator.TypeFailed, ""), ExitCode: 7, Warnings: []error{errors.New("directory not empty")}}
	if err := c.printRun(run, bundle.RuntimeExec); err != exitStatus(7) {
		t.Errorf("error %v", err)
	}
	var printed struct{ State struct{ Type string } }
	if err := json.Unmarshal(out.Bytes(), &printed); err != nil || printed.State.Type != "FAILED" {
		t.Errorf("printed %s (%v)", &out, err)
	}
	if diff := cmp.Diff("warning: directory not empty\n", errs.String()); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

// What a Prefect server says is of the kind that the same would be of here, and no hint speaks of
// the embedded default.
func TestFailOnPrefect(t *testing.T) {
	answer := func(status int, path, detail string) error {
		return fmt.Errorf("submit: prefect: %w", &prefect.StatusError{Method: "POST", Path: path, Status: status, Detail: detail})
	}
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{
			"a field that it does not like", unavailable(answer(422, "/flow_runs/", "body.name: too long")), exitUsage,
			`{"error":{"kind":"usage","message":"submit: prefect: POST /flow_runs/: status 422 Unprocessable Entity: body.name: too long","hint":""}}`,
		},
		{
			"a conflict", unavailable(answer(409, "/flows/", "")), exitUsage,
			`{"error":{"kind":"conflict","message":"submit: prefect: POST /flows/: status 409 Conflict","hint":""}}`,
		},
		{
			"not the address of an API", aboutFlowRun(answer(404, "/flow_runs/filter", "Not Found")), exitUnavailable,
			`{"error":{"kind":"unavailable","message":"submit: prefect: POST /flow_runs/filter: status 404 Not Found: Not Found","hint":"look at PREFECT_API_URL: the address of an API ends in /api"}}`,
		},
		{
			"another key", aboutWorkPool(answer(403, "/work_pools/", "")), exitUnavailable,
			`{"error":{"kind":"unauthorized","message":"submit: prefect: POST /work_pools/: status 403 Forbidden","hint":"look at PREFECT_API_KEY or PREFECT_API_AUTH_STRING, and at the active profile: flowship doctor"}}`,
		},
		{
			"anything else", unavailable(errors.New("submit: broken")), exitUnavailable,
			`{"error":{"kind":"unavailable","message":"submit: broken","hint":""}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			c := &console{out: &out, err: &errs, json: true, onPrefect: true}
			code := c.fail(t.Context(), newRunCommand(c), test.err)
			if diff := cmp.Diff(test.want+"\n", errs.String()); diff != "" || code != test.code {
				t.Errorf("code %d, want %d; stderr (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}
