package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"casq/cmd/internal/cli"

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
		kindCommand(), queueCommand(), cursorCommand(), backfillCommand(), statusCommand(), whyCommand(), refreshCommand(), counterCommand(),
		buildCommand(), buildsCommand(), traceCommand(), runnerCommand(), auditCommand(), execCommand())
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
