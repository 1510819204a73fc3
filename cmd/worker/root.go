package main

import (
	"casq/cmd/internal/cli"

	"github.com/spf13/cobra"
)

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Keep a second site in step with a primary",
		Long: `Worker keeps files and git repositories of a second site in step with a
primary, by following the log of events in the primary's database.

It is configured by the environment; docs/configuration.md has the list.`,
		Example: `  worker dev                  # private Postgres and Redis, to try casq out
  worker migrate up           # bring the database at DATABASE_URL up to date
  worker run                  # work until SIGTERM
  worker run --migrate        # both`,
		Version: cli.VersionText(version),
	}
	cmd.AddCommand(runCommand(), devCommand(), doctorCommand(), migrateCommand(), promoteCommand())
	return cmd
}
