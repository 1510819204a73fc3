package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	"casq/jobs"

	"github.com/spf13/cobra"
)

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enqueue",
		Short: "Insert work for casq's workers, and show how it goes",
		Long: `Enqueue works on the database at DATABASE_URL: a worker's home, which has its
registry and its jobs. docs/configuration.md has the list of variables.`,
		Example: `  enqueue status
  enqueue why artifact builds/42/out.zip
  enqueue resync --kind artifact --failed
  enqueue backfill --kind artifact`,
		Version: cli.VersionText(version),
	}
	cmd.AddCommand(resyncCommand(), verifyCommand(), reconcileCommand(), selectCommand(), replayCommand(), cancelCommand(),
		kindCommand(), queueCommand(), cursorCommand(), backfillCommand(), touchCommand(), statusCommand(), whyCommand(), refreshCommand(), counterCommand(),
		buildCommand(), buildsCommand(), traceCommand(), runnerCommand(), auditCommand(), execCommand())
	complete(cmd)
	return cmd
}

// addJSON adds the flag that answer reads to a command.
func addJSON(cmd *cobra.Command) { cmd.Flags().Bool("json", false, "print one JSON object") }

// answer prints what a command came to: v when --json is set, else the text.
func answer(cmd *cobra.Command, v any, text string) error {
	if asJSON, err := cmd.Flags().GetBool("json"); err != nil || !asJSON {
		fmt.Fprintln(cli.Out(cmd), strings.TrimSuffix(text, "\n"))
		return err
	}
	out := json.NewEncoder(cli.Out(cmd))
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(v)
}

// plural is a number with its noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// complete has a shell complete names that home has: of kinds and of queues. Without
// DATABASE_URL in its environment it completes commands and flags only.
func complete(cmd *cobra.Command) {
	if cmd.Flags().Lookup("kind") != nil {
		_ = cmd.RegisterFlagCompletionFunc("kind", completeKind)
	}
	for _, sub := range cmd.Commands() {
		complete(sub)
	}
}

// completeKind completes a flag, or the first argument, with the kinds.
func completeKind(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(cmd, args, func(ctx context.Context, h *home) ([]string, error) {
		kinds, err := eventlog.Kinds(ctx, h)
		return slices.Sorted(maps.Keys(kinds)), err
	})
}

// completeQueue completes the first argument with the queues.
func completeQueue(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completeNames(cmd, args, func(ctx context.Context, h *home) (names []string, err error) {
		queue, err := jobs.NewQueue(h.Pool, h.log)
		if err != nil {
			return nil, err
		}
		return queue.Known(ctx)
	})
}

func completeNames(cmd *cobra.Command, args []string, read func(context.Context, *home) ([]string, error)) (names []string, directive cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	err := withHome(cmd, func(ctx context.Context, h *home) (err error) {
		names, err = read(ctx, h)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
