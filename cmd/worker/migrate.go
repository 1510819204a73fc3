package main

import (
	"context"
	"fmt"
	"io"

	"casq/cmd/internal/cli"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Change the schema of the database at DATABASE_URL",
		Long: `Migrate brings the schemas casq and river of the database at DATABASE_URL to
another version. Any number of them may run at once: one works, the others wait.

An ordinary role that owns the database is enough, except that tables which are
partitioned can be tracked only after a superuser has run, once,
SELECT casq.install_event_trigger().`,
		Example: `  worker migrate status
  worker migrate up
  worker migrate down            # one version back
  worker migrate down --to 0     # removes casq, its log, and its jobs`,
	}
	cmd.AddCommand(migrateUpCommand(), migrateDownCommand(), migrateStatusCommand())
	return cmd
}

func migrateUpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "up",
		Short:   "Apply all migrations that are missing",
		Example: "  DATABASE_URL=postgres://app@localhost/app worker migrate up",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, log, err := readHomeConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			return migrations.Up(cmd.Context(), url, log.Logger(cmd.ErrOrStderr()))
		},
	}
}

func migrateDownCommand() *cobra.Command {
	const previous = -1
	var to int32
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Take migrations back",
		Long: `Down takes back the newest migration, or with --to all that are newer than a
version. What their tables hold is lost. Version 0 removes everything.`,
		Example: `  worker migrate down
  worker migrate down --to 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && to < 0 {
				return cli.Usage(cmd, "--to is %d: it may be 0 or more", to)
			}
			url, log, err := readHomeConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			if to == previous {
				status, err := readStatus(cmd.Context(), url)
				if err != nil {
					return err
				}
				to = max(status.Version-1, 0)
			}
			return migrations.Down(cmd.Context(), url, to, log.Logger(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().Int32Var(&to, "to", previous, "the version to go back to; -1 is the one before the present one")
	return cmd
}

func migrateStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Tell which migrations are applied",
		Example: "  worker migrate status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			url, _, err := readHomeConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			status, err := readStatus(cmd.Context(), url)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), status)
		},
	}
}

func readStatus(ctx context.Context, url string) (migrations.Status, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return migrations.Status{}, fmt.Errorf("connect to DATABASE_URL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return migrations.Read(ctx, conn)
}

// printStatus lists the migrations, and returns an error for a database that
// this program must not touch.
func printStatus(out io.Writer, status migrations.Status) error {
	for i, name := range status.Names {
		state := "applied"
		if int32(i) >= status.Version {
			state = "missing"
		}
		fmt.Fprintf(out, "%-8s %s\n", state, name)
	}
	fmt.Fprintf(out, "version %d of %d\n", status.Version, status.Latest)
	if status.Version > status.Latest {
		return fmt.Errorf("%w: run a newer program", migrations.ErrNewer)
	}
	return nil
}
