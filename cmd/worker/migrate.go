package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"casq/cmd/internal/cli"
	"casq/internal/database"
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

An ordinary role that owns the database, and the tables that will be tracked, is
enough. Partitioned ones can be tracked only after a superuser has run, once,
SELECT casq.install_event_trigger(); docs/operations.md says what that changes.`,
		Example: `  worker migrate status
  worker migrate up
  worker migrate down                  # one version back
  worker migrate down --to 0 --dry-run # what would be destroyed
  worker migrate down --to 0 --yes     # removes casq, its log, and its jobs`,
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

// previous stands for the version before the present one.
const previous = -1

func migrateDownCommand() *cobra.Command {
	var to int32
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "down [--to VERSION] [--yes]",
		Short: "Take migrations back",
		Long: `Down takes back the newest migration, or with --to all that are newer than a
version. What their tables hold is destroyed: when they hold anything it is refused
without --yes, and says what. Version 0 removes everything. It is also refused while
workers are connected.`,
		Example: `  worker migrate down
  worker migrate down --to 0 --dry-run
  worker migrate down --to 0 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("to") && to < 0 {
				return cli.Usage(cmd, "--to is %d: it may be 0 or more", to)
			}
			url, log, err := readHomeConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			target, loss, err := wayDown(cmd.Context(), url, to)
			switch {
			case err != nil:
				return err
			case dryRun:
				fmt.Fprint(cli.Out(cmd), lossText(loss, "would destroy, with so many rows,"))
				return nil
			case !yes && !loss.Nothing():
				return cli.Usage(cmd, "%ssay --yes if it may go", lossText(loss, "this destroys, for good, with so many rows,"))
			}
			return migrations.Down(cmd.Context(), url, target, log.Logger(cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().Int32Var(&to, "to", previous, "the version to go back to; -1 is the one before the present one")
	cmd.Flags().BoolVar(&yes, "yes", false, "destroy what the tables hold")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be destroyed, and change nothing")
	return cmd
}

// wayDown finds the version to go back to, and what is lost on the way.
func wayDown(ctx context.Context, url string, to int32) (target int32, loss migrations.Loss, err error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return 0, loss, fmt.Errorf("connect to DATABASE_URL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	status, err := migrations.Read(ctx, conn)
	if err != nil {
		return 0, loss, err
	}
	if status.Version > status.Latest {
		return 0, loss, fmt.Errorf("%w: run a newer program", migrations.ErrNewer)
	}
	if to == previous {
		to = max(status.Version-1, 0)
	}
	loss, err = migrations.Lost(ctx, conn, to)
	return to, loss, err
}

// lossText names what is lost, a line for each table.
func lossText(loss migrations.Loss, verb string) string {
	if loss.Nothing() {
		return verb + " nothing that was written\n"
	}
	var text strings.Builder
	fmt.Fprintln(&text, verb)
	for _, t := range loss.Tables {
		what := t.Name
		if t.Columns != nil {
			what = fmt.Sprintf("%s of %s", strings.Join(t.Columns, ", "), t.Name)
		}
		more := ""
		if t.Rows >= migrations.MostCounted {
			more = " or more"
		}
		fmt.Fprintf(&text, "  %s: %d%s\n", what, t.Rows, more)
	}
	if len(loss.Tracked) > 0 {
		fmt.Fprintf(&text, "  the log of %s: their changes are not logged any more\n", cli.Names(loss.Tracked))
	}
	return text.String()
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

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := database.ParseConfig(url, database.Options{Application: "casq migrate"})
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, config)
}

func readStatus(ctx context.Context, url string) (migrations.Status, error) {
	conn, err := connect(ctx, url)
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
