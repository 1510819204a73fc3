package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func whyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "why KIND KEY",
		Short: "Tell what a thing waits for",
		Long: `Why tells, in words, what is wanted of a thing, which event asked for it, which
job and process has it, and what it waits for. It is SELECT casq.why(KIND, KEY).`,
		Example: "  enqueue why artifact builds/42/out.zip",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if err := h.checkKind(ctx, args[0]); err != nil {
					return err
				}
				var answer string
				if err := h.QueryRow(ctx, "SELECT casq.why($1, $2)", args[0], args[1]).Scan(&answer); err != nil {
					return fmt.Errorf("ask why: %w", err)
				}
				fmt.Fprintln(cmd.OutOrStdout(), answer)
				return nil
			})
		},
	}
}
