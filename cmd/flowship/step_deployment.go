package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit/execute/executor"
)

func newStepDeploymentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "deployment",
		Short:  "Run a flow run of a Prefect deployment here",
		Hidden: true, // it is what a worker starts
		Long: `Deployment runs the flow run that PREFECT__FLOW_RUN_ID names, of a deployment of the
Prefect server, with Prefect's engine, and looks after it.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return executed(executor.RunDeployment(cmd.Context()))
		},
	}
}
