package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newSubmitToWorkPoolCommand(c *console) *cobra.Command {
	opts := &flowFlags{}
	cmd := &cobra.Command{
		Use:         "submit-to-work-pool [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Leave a command or a flow to the workers of a work pool",
		Annotations: map[string]string{packing: ""},
		Long: `Submit-to-work-pool packs and stores as run does, has the flow run wait in the work
pool, and prints its id. A worker of that pool launches it: flowship worker start.

JSON: as of run; "state" is SCHEDULED.`,
		Example: `  flowship submit-to-work-pool --pool gpu flows/etl.py:main --include 'data/*.csv'
  flowship submit-to-work-pool -v env='{"MODE": "fast"}' --include f.sh -- sh f.sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.flowTarget(cmd, args)
			if err != nil {
				return err
			}
			return runSubmit(cmd.Context(), c, opts, t, (*submit.Client).SubmitToWorkPool)
		},
	}
	opts.register(cmd.Flags())
	return cmd
}
