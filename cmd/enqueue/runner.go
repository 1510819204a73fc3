package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

func runnerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runner",
		Short: "Make, list, pause and delete CI runners",
		Long: `A runner is what a machine with gitlab-runner registers as, by the token that
enqueue runner create prints. It takes builds whose tags it has all of.`,
		Example: `  enqueue runner create --description 'build machine' --tag linux
  gitlab-runner register --url http://host:8091 --token glrt-...
  enqueue runner list`,
	}
	cmd.AddCommand(runnerCreateCommand(), runnerListCommand(),
		runnerChangeCommand("pause", "Give a runner no more builds; it goes on with those that it has", "paused", func(ctx context.Context, h *home, id int64) (int64, error) {
			tag, err := h.Exec(ctx, buildsSQL.PauseRunner, id, true)
			return tag.RowsAffected(), err
		}),
		runnerChangeCommand("resume", "Give a runner builds again", "resumed", func(ctx context.Context, h *home, id int64) (int64, error) {
			tag, err := h.Exec(ctx, buildsSQL.PauseRunner, id, false)
			return tag.RowsAffected(), err
		}),
		runnerChangeCommand("delete", "Delete a runner: its token is refused from then on", "deleted", func(ctx context.Context, h *home, id int64) (int64, error) {
			tag, err := h.Exec(ctx, buildsSQL.DeleteRunner, id)
			return tag.RowsAffected(), err
		}),
		runnerResetCommand())
	return cmd
}

// createdRunner is a runner and its token.
type createdRunner struct {
	ID    int64  `json:"id"`
	Token string `json:"token"`
}

func (r createdRunner) text() string {
	return fmt.Sprintf("runner %d\n%s\nThe token is not shown again. Register with it: gitlab-runner register --url URL --token TOKEN", r.ID, r.Token)
}

func runnerCreateCommand() *cobra.Command {
	var description string
	var tags []string
	var projects []int64
	var untagged bool
	var limit int
	cmd := &cobra.Command{
		Use:   "create --description D [--tag T]... [--untagged] [--project P]... [--limit N]",
		Short: "Make a runner, and print its token",
		Long: `Create makes a runner and prints its token, this once. Without tags it takes builds
without tags; with --untagged it does so besides those whose tags it has.`,
		Example: "  enqueue runner create --description 'build machine' --tag linux --tag docker --untagged",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var most *int
			switch {
			case description == "":
				return cli.Usage(cmd, "--description is required: what people call it")
			case cmd.Flags().Changed("limit") && limit < 1:
				return cli.Usage(cmd, "--limit is %d: it may be 1 or more", limit)
			case limit > 0:
				most = &limit
			}
			if tags == nil {
				tags = []string{}
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				var r createdRunner
				err := h.QueryRow(ctx, buildsSQL.CreateRunner, description, tags, untagged || len(tags) == 0, projects, most).Scan(&r.ID, &r.Token)
				if err != nil {
					return fmt.Errorf("make a runner: %w", err)
				}
				return answer(cmd, r, r.text())
			})
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "what people call it")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "a tag that it has; may be repeated")
	cmd.Flags().BoolVar(&untagged, "untagged", false, "it takes builds without tags, too")
	cmd.Flags().Int64SliceVar(&projects, "project", nil, "only builds of this project; may be repeated")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many builds it may run at once")
	addJSON(cmd)
	return cmd
}

func runnerResetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reset-token ID", Short: "Give a runner another token, and print it",
		Long:    "Reset-token gives a runner another token, printed this once. The one before is refused from then on.",
		Example: "  enqueue runner reset-token 3", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number(cmd, "a runner", args[0])
			if err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				r := createdRunner{ID: id}
				if err := h.QueryRow(ctx, "SELECT casq.reset_runner_token($1)", id).Scan(&r.Token); err != nil {
					return fmt.Errorf("reset the token of runner %d: %w", id, err)
				}
				return answer(cmd, r, r.text())
			})
		},
	}
	addJSON(cmd)
	return cmd
}

func runnerChangeCommand(use, short, done string, change func(context.Context, *home, int64) (int64, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " ID", Short: short, Long: short + ".", Example: "  enqueue runner " + use + " 3", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number(cmd, "a runner", args[0])
			if err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				changed, err := change(ctx, h, id)
				switch {
				case err != nil:
					return fmt.Errorf("%s runner %d: %w", use, id, err)
				case changed == 0:
					return fmt.Errorf("there is no runner %d: enqueue runner list has them", id)
				}
				return answer(cmd, map[string]any{"id": id, "done": done}, fmt.Sprintf("%s runner %d", done, id))
			})
		},
	}
	addJSON(cmd)
	return cmd
}

// listedRunner is a runner, as it was last heard of.
type listedRunner struct {
	ID          int64      `json:"id"`
	Description string     `json:"description"`
	Tags        []string   `json:"tags"`
	Untagged    bool       `json:"untagged"`
	Projects    []int64    `json:"projects"` // null: all
	Paused      bool       `json:"paused"`
	Limit       *int       `json:"limit"` // null: none
	Processes   int64      `json:"processes"`
	ContactedAt *time.Time `json:"contacted_at"` // null: never
	Running     int64      `json:"running"`
}

func runnerListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the runners", Long: "List shows the runners, what they take, and when they were last heard of, at most a minute late.",
		Example: "  enqueue runner list --json | jq '.runners[] | select(.paused)'", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error {
				rows, err := h.Query(ctx, buildsSQL.Runners)
				if err != nil {
					return fmt.Errorf("list runners: %w", err)
				}
				runners, err := pgx.CollectRows(rows, pgx.RowToStructByPos[listedRunner])
				if err != nil {
					return fmt.Errorf("list runners: %w", err)
				}
				return answer(cmd, map[string]any{"runners": runners}, runnerTable(runners, time.Now()))
			})
		},
	}
	addJSON(cmd)
	return cmd
}

func runnerTable(runners []listedRunner, now time.Time) string {
	if len(runners) == 0 {
		return "(no runners: enqueue runner create makes one)"
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "RUNNER\tDESCRIPTION\tTAGS\tUNTAGGED\tPAUSED\tRUNNING\tLAST HEARD OF")
	for i := range runners {
		r := &runners[i]
		heard := "never"
		if r.ContactedAt != nil {
			heard = max(now.Sub(*r.ContactedAt), 0).Round(time.Second).String() + " ago"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%t\t%t\t%d\t%s\n", r.ID, cli.Name(r.Description), tagList(r.Tags), r.Untagged, r.Paused, r.Running, heard)
	}
	_ = table.Flush()
	return out.String()
}
