package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"casq/cmd/internal/cli"
	"casq/counter/recount"
	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

func backfillCommand() *cobra.Command {
	var kind, after string
	var agreed consent
	cmd := &cobra.Command{
		Use:   "backfill --kind KIND [--after KEY]",
		Short: "Log the rows that were there before their table was tracked",
		Long: `Backfill appends an event for each row of a kind's tracked table, page by page in
the order of the keys, while the table is in use. Run it at the database that has
the table. Running it again is harmless: it costs a needless copy of each resource.`,
		Example: `  enqueue backfill --kind artifact
  enqueue backfill --kind artifact --after builds/42/out.zip     # go on`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind == "" {
				return cli.Usage(cmd, "--kind is required: the kind of the tracked table")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				return h.backfill(ctx, cmd, kind, after, agreed)
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of the tracked table")
	cmd.Flags().StringVar(&after, "after", "", "the key to go on after, as an earlier run has told it")
	agreed.add(cmd)
	addJSON(cmd)
	return cmd
}

// backfilled is the answer to enqueue backfill.
type backfilled struct {
	Kind     string  `json:"kind"`
	Events   int64   `json:"events"`
	After    string  `json:"after,omitempty"` // the key to go on after, when it failed
	Recounts []int64 `json:"recounts"`        // that were asked for
}

func (b backfilled) text() string {
	text := fmt.Sprintf("appended %d events of kind %s", b.Events, b.Kind)
	if len(b.Recounts) > 0 {
		text += fmt.Sprintf("\nasked for a recount of kind %s, as %s", b.Kind, numbers(b.Recounts))
	}
	return text
}

func (h *home) backfill(ctx context.Context, cmd *cobra.Command, kind, after string, agreed consent) error {
	rows, err := h.rowsOf(ctx, kind)
	if err != nil {
		return err
	}
	if after != "" {
		rows = 0 // of those that are left nobody knows, and all were agreed to
	} else if ctx, err = agreed.get(ctx, cmd, rows, "has copied up to"); err != nil {
		return err
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "backfill "+kind, rows)
	done, err := eventlog.Backfill(ctx, h.Pool, kind, eventlog.BackfillOptions{After: after, Progress: progress.Set})
	progress.Close()
	result := backfilled{Kind: kind, Events: done, Recounts: []int64{}}
	var failed *eventlog.BackfillError
	if errors.As(err, &failed) && failed.After != "" {
		result.After = failed.After
		return errors.Join(answer(cmd, result, result.text()), fmt.Errorf("%w (--after %q goes on)", err, failed.After))
	}
	ids, countErr := h.countBackfilled(ctx, kind)
	result.Recounts = append(result.Recounts, ids...)
	return errors.Join(answer(cmd, result, result.text()), err, countErr)
}

// countBackfilled asks for the kind's counters, if it has any: the rows that
// were there before are in no event's deltas.
func (h *home) countBackfilled(ctx context.Context, kind string) ([]int64, error) {
	recounts, closeCounters, err := h.recounts()
	if err != nil {
		return nil, err
	}
	defer closeCounters()
	_, ids, err := recounts.Refresh(ctx, recount.Request{Kind: kind, All: true})
	if errors.Is(err, recount.ErrNotCounted) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for a recount (enqueue refresh --kind %s --all): %w", kind, err)
	}
	return ids, nil
}

// rowsOf counts the rows of a kind's tracked table.
func (h *home) rowsOf(ctx context.Context, kind string) (n int64, err error) {
	rows, err := h.Query(ctx, "SELECT kind FROM casq.tracked ORDER BY kind")
	if err != nil {
		return 0, fmt.Errorf("list tracked tables: %w", err)
	}
	tracked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("list tracked tables: %w", err)
	}
	if !slices.Contains(tracked, kind) {
		list := strings.Join(tracked, ", ")
		if list == "" {
			list = "none; SELECT casq.track(...) is for the database that has the table"
		}
		return 0, fmt.Errorf("%w: %q; tracked kinds: %s", eventlog.ErrNotTracked, kind, list)
	}
	if err := h.QueryRow(ctx, "SELECT casq.count_rows($1)", kind).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the rows of kind %s: %w", kind, err)
	}
	return n, nil
}

func touchCommand() *cobra.Command {
	var kind, key string
	cmd := &cobra.Command{
		Use:   "touch --kind KIND --key KEY",
		Short: "Tell that the bytes of a resource may have changed",
		Long: `Touch appends an event for a resource whose bytes may have changed although its row
has not. Run it at the database that has the table. Each site that follows fetches the
repository, or copies the file; a file whose payload has the SHA-256 of what is in place
is only compared. It is SELECT casq.touch(KIND, KEY).`,
		Example: "  enqueue touch --kind repository --key group/project.git",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind == "" || key == "" {
				return cli.Usage(cmd, "--kind and --key are required: the resource")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error { return h.touch(ctx, cmd, kind, key) })
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of the tracked table")
	cmd.Flags().StringVar(&key, "key", "", "the resource")
	addJSON(cmd)
	return cmd
}

// touched is the answer to enqueue touch.
type touched struct {
	Kind       string `json:"kind"`
	ResourceID string `json:"resource_id"`
	Event      int64  `json:"event"`
}

func (h *home) touch(ctx context.Context, cmd *cobra.Command, kind, key string) error {
	t := touched{Kind: kind, ResourceID: key}
	err := pgx.BeginFunc(ctx, h.Pool, func(tx pgx.Tx) (err error) {
		t.Event, err = eventlog.Touch(ctx, tx, kind, key)
		return err
	})
	if err != nil {
		return err
	}
	return answer(cmd, t, fmt.Sprintf("touched %s %s by event %d", kind, cli.Name(key), t.Event))
}
