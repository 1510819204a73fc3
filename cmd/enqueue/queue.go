package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"
	"casq/jobs"

	"github.com/spf13/cobra"
)

func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "List the queues, and pause or resume them",
		Long: `A paused queue keeps its jobs. Workers take none of them until it is resumed; what
they have in hand they finish. Each kind has a queue, named like it unless
casq.track was told otherwise.`,
		Example: `  enqueue queue list
  enqueue queue pause repository
  enqueue queue resume --all`,
	}
	cmd.AddCommand(queueListCommand(),
		queueSwitchCommand("pause", "paused", "Keep workers from taking jobs of a queue", (*jobs.Queue).Pause),
		queueSwitchCommand("resume", "resumed", "Let workers go on with a queue", (*jobs.Queue).Resume))
	return cmd
}

func queueListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the queues, and how many jobs they have",
		Long: `List shows each queue that workers have served, and whether it is paused:

  WAITING    jobs that a worker with room may take now
  RUNNING    jobs that workers have in hand
  LOST       jobs that were running in a process which is dead: their work has
             been handed on, or soon is
  RETRYING   jobs that come later: after an error, or because they wait for
             something`,
		Example: "  enqueue queue list --json | jq '.queues[] | select(.paused_at)'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error {
				queue, err := jobs.NewQueue(h.Pool, h.log)
				if err != nil {
					return err
				}
				states, err := queue.Queues(ctx)
				if err != nil {
					return err
				}
				return answer(cmd, queueList{states}, queueTable(states, time.Now()))
			})
		},
	}
	addJSON(cmd)
	return cmd
}

// queueList is what the commands of queues say with --json.
type queueList struct {
	Queues []jobs.QueueState `json:"queues"`
}

func queueTable(states []jobs.QueueState, now time.Time) string {
	if len(states) == 0 {
		return "(none: a worker that runs makes its queues known)"
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "QUEUE\tWAITING\tRUNNING\tLOST\tRETRYING\tPAUSED")
	for _, s := range states {
		paused := "no"
		if s.PausedAt != nil {
			paused = "for " + max(now.Sub(*s.PausedAt), 0).Round(time.Second).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", cli.Name(s.Name), atMost(s.Waiting), atMost(s.Running), atMost(s.Lost), atMost(s.Retrying), paused)
	}
	_ = table.Flush()
	return out.String()
}

func atMost(n int64) string {
	if n >= jobs.MostJobs {
		return fmt.Sprintf("%d or more", n)
	}
	return fmt.Sprint(n)
}

func queueSwitchCommand(use, done, short string, act func(*jobs.Queue, context.Context, string) error) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   use + " (NAME | --all)",
		Short: short,
		Long: short + `. Workers hear of it at once, or within a minute; one that begins
to serve the queue later finds it so. A queue that no worker has worked on for a
day is forgotten, and that it was paused with it.`,
		Example:           "  enqueue queue " + use + " artifact",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeQueue,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == all || len(args) == 1 && (args[0] == "" || args[0] == jobs.AllQueues) {
				return cli.Usage(cmd, "want the name of a queue, or --all")
			}
			name := jobs.AllQueues
			if !all {
				name = args[0]
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				queue, err := jobs.NewQueue(h.Pool, h.log)
				if err != nil {
					return err
				}
				if err := act(queue, ctx, name); err != nil {
					return err
				}
				states, err := queue.Queues(ctx)
				if err != nil {
					return err
				}
				text := done + " " + name
				if all {
					text = fmt.Sprintf("%s all %d queues", done, len(states))
				}
				return answer(cmd, queueList{states}, text)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all queues that workers serve, or will")
	addJSON(cmd)
	return cmd
}
