package main

import (
	"casq/cmd/internal/cli"

	"github.com/spf13/cobra"
)

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enqueue",
		Short: "Insert work for casq's workers, and show how it goes",
		Long: `Enqueue works on the database at DATABASE_URL: a worker's home, which has its
registry and its jobs. README.md has the list of variables.`,
		Example: `  enqueue status
  enqueue why artifact builds/42/out.zip
  enqueue resync --kind artifact --failed
  enqueue backfill --kind artifact`,
		Version: cli.Version(version),
	}
	cmd.AddCommand(resyncCommand(), verifyCommand(), reconcileCommand(), selectCommand(), replayCommand(), cancelCommand(),
		kindCommand(), queueCommand(), cursorCommand(), backfillCommand(), statusCommand(), whyCommand(), refreshCommand(), counterCommand(),
		buildCommand(), buildsCommand(), traceCommand(), runnerCommand(), execCommand())
	return cmd
}
