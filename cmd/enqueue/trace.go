package main

import (
	"context"

	"casq/runner"

	"github.com/spf13/cobra"
)

func traceCommand() *cobra.Command {
	var follow bool
	var attempt int32
	cmd := &cobra.Command{
		Use:   "trace ID [--follow]",
		Short: "Print the log of a build",
		Long: `Trace prints what a build's runner has sent of its log, byte by byte: of the newest
attempt, or of another. With --follow it goes on until the attempt has ended.`,
		Example: "  enqueue trace 12 --follow",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number(cmd, "a build", args[0])
			if err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				return runner.Trace(ctx, h, id, attempt, 0, follow, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until it has ended")
	cmd.Flags().Int32Var(&attempt, "attempt", 0, "that attempt; 0 is the newest")
	return cmd
}
