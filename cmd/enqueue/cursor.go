package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	follow "casq/internal/cursor"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// errUnknownCursor says that no consumer has a cursor of that name.
var errUnknownCursor = errors.New("unknown cursor")

func cursorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cursor",
		Short:   "Have a cursor start over",
		Example: "  enqueue cursor reset registry --yes",
	}
	cmd.AddCommand(cursorResetCommand())
	return cmd
}

func cursorResetCommand() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "reset NAME --yes",
		Short: "Have a cursor start over at the newest tick",
		Long: `Reset moves a cursor to the newest tick of the log, whatever it has read before and
from wherever, and has its consumer make good for what lies between: the registry
is compared with the source, all of it. Nothing is copied again that is in place.
It is for a cursor that has stopped because its source is another cluster, restored
from a dump, say, and you know that it is the right one. A worker whose cursor has
stopped is to be restarted afterwards. When the log is another site's, set
SOURCE_DATABASE_URL as for the worker.`,
		Example: `  enqueue cursor reset registry --dry-run
  enqueue cursor reset registry --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return cli.Usage(cmd, "everything is compared again: say --yes, or --dry-run to see where it would go on")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				return h.resetCursor(ctx, cmd, args[0], dryRun)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say where it would go on, and change nothing")
	addJSON(cmd)
	return cmd
}

// place is a position as it is shown.
type place struct {
	Life int32 `json:"life"`
	Tick int64 `json:"tick"`
}

// startedOver is the answer to enqueue cursor reset.
type startedOver struct {
	Name   string `json:"name"`
	From   *place `json:"from"` // nil: it has never run
	To     place  `json:"to"`
	DryRun bool   `json:"dry_run"`
}

func (h *home) resetCursor(ctx context.Context, cmd *cobra.Command, name string, dryRun bool) error {
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	consumers := map[string]follow.Rewinder{"registry": &registry.Transposer{Jobs: queue}}
	consumer, known := consumers[name]
	if !known {
		return h.unknownCursor(ctx, name)
	}
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	if dryRun {
		consumer = unwilling{}
	}
	w, err := follow.StartOver(ctx, h.Pool, source, name, consumer)
	switch {
	case errors.Is(err, eventlog.ErrNoTicks):
		return fmt.Errorf("%w; when the log is another site's, set SOURCE_DATABASE_URL", err)
	case err != nil && !errors.Is(err, errUnwilling):
		return err
	}
	result := startedOver{Name: name, To: place{w.To.Life.Ordinal, w.To.Tick}, DryRun: dryRun}
	if w.From != (eventlog.Position{}) {
		result.From = &place{w.From.Life.Ordinal, w.From.Tick}
	}
	return answer(cmd, result, result.text())
}

// unknownCursor names those that can be reset, and those that are there.
func (h *home) unknownCursor(ctx context.Context, name string) error {
	rows, err := h.Query(ctx, "SELECT name FROM casq.cursors ORDER BY name")
	if err != nil {
		return fmt.Errorf("list cursors: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list cursors: %w", err)
	}
	if slices.Contains(names, name) {
		return fmt.Errorf("cursor %q cannot be reset: its consumer is not known here; it may be registry", name)
	}
	if !slices.Contains(names, "registry") {
		names = append(names, "registry (it has not run yet)")
	}
	return fmt.Errorf("%w %q; known: %s", errUnknownCursor, name, strings.Join(names, ", "))
}

func (s startedOver) text() string {
	from := "nowhere (it has never run)"
	if s.From != nil {
		from = fmt.Sprintf("tick %d of life %d", s.From.Tick, s.From.Life)
	}
	format := "moved cursor %s from %s to tick %d of life %d; everything is compared with the source"
	if s.DryRun {
		format = "would move cursor %s from %s to tick %d of life %d, and compare everything with the source"
	}
	return fmt.Sprintf(format, s.Name, from, s.To.Tick, s.To.Life)
}

// unwilling is a consumer that rolls everything back.
type unwilling struct{}

var errUnwilling = errors.New("nothing is changed")

func (unwilling) Rewound(context.Context, pgx.Tx, eventlog.Rewind) error { return errUnwilling }
