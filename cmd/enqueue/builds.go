package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"
	"casq/runner"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// listedBuild is a build, as the commands of builds tell it.
type listedBuild struct {
	ID            int64      `json:"id"`
	Pipeline      int64      `json:"pipeline"`
	Project       int64      `json:"project"`
	Name          string     `json:"name"`
	Status        string     `json:"status"`
	Tags          []string   `json:"tags"`
	Attempt       int32      `json:"attempt"`
	Runner        *int64     `json:"runner"` // null: it has none, or its runner was deleted
	CreatedAt     time.Time  `json:"created_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	FailureReason string     `json:"failure_reason"`
	ExitCode      *int32     `json:"exit_code"`
}

// line is a build in words.
func (b *listedBuild) line() string {
	text := fmt.Sprintf("build %d (%s) of project %d is %s", b.ID, b.Name, b.Project, b.Status)
	if b.FailureReason != "" {
		text += ": " + b.FailureReason
	}
	return cli.Line(text)
}

func (h *home) readBuild(ctx context.Context, id int64) (*listedBuild, error) {
	rows, err := h.Query(ctx, buildsSQL.Build, id)
	if err != nil {
		return nil, fmt.Errorf("read build %d: %w", id, err)
	}
	b, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[listedBuild])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("there is no build %d", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read build %d: %w", id, err)
	}
	return b, nil
}

func (h *home) tellBuild(ctx context.Context, cmd *cobra.Command, id int64) error {
	b, err := h.readBuild(ctx, id)
	if err != nil {
		return err
	}
	return answer(cmd, b, b.line())
}

// mostBuilds is how many are listed.
const mostBuilds = 100

var buildStatuses = []string{"created", "pending", "running", "canceling", "success", "failed", "canceled", "skipped"}

func buildsCommand() *cobra.Command {
	var project int64
	var status string
	cmd := &cobra.Command{
		Use:   "builds [--project P] [--status S]",
		Short: "List the newest builds",
		Long: `Builds lists the hundred newest builds, or those of a project or with a status:
` + strings.Join(buildStatuses, ", ") + ".",
		Example: "  enqueue builds --project 7 --status pending",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var ofProject *int64
			var withStatus *string
			if cmd.Flags().Changed("project") {
				ofProject = &project
			}
			if cmd.Flags().Changed("status") {
				if !slices.Contains(buildStatuses, status) {
					return cli.Usage(cmd, "--status is %q: it may be %s", status, strings.Join(buildStatuses, ", "))
				}
				withStatus = &status
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				rows, err := h.Query(ctx, buildsSQL.Builds, ofProject, withStatus, mostBuilds)
				if err != nil {
					return fmt.Errorf("list builds: %w", err)
				}
				builds, err := pgx.CollectRows(rows, pgx.RowToStructByPos[listedBuild])
				if err != nil {
					return fmt.Errorf("list builds: %w", err)
				}
				return answer(cmd, map[string]any{"builds": builds}, buildTable(builds))
			})
		},
	}
	cmd.Flags().Int64Var(&project, "project", 0, "only those of this project")
	cmd.Flags().StringVar(&status, "status", "", "only those with this status")
	addJSON(cmd)
	return cmd
}

func buildTable(builds []listedBuild) string {
	if len(builds) == 0 {
		return "(no builds)"
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "BUILD\tPROJECT\tPIPELINE\tSTATUS\tNAME\tTAGS\tATTEMPT")
	for i := range builds {
		b := &builds[i]
		fmt.Fprintf(table, "%d\t%d\t%d\t%s\t%s\t%s\t%d\n", b.ID, b.Project, b.Pipeline, b.Status, cli.Name(b.Name), tagList(b.Tags), b.Attempt)
	}
	_ = table.Flush()
	return out.String()
}

func tagList(tags []string) string {
	if len(tags) == 0 {
		return "-"
	}
	return cli.Names(tags)
}

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
