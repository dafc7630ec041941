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
