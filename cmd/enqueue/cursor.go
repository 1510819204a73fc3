package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	follow "casq/internal/cursor"
	"casq/jobs"
	"casq/registry"
	"casq/registry/reconcile"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	var remove int64
	cmd := &cobra.Command{
		Use:   "reset NAME --yes",
		Short: "Have a cursor start over at the newest tick",
		Long: `Reset moves a cursor to the newest tick of the log, whatever it has read before and
from wherever, and has its consumer make good for what lies between: the registry
is compared with the source, all of it. Nothing is copied again that is in place.
It is for a cursor that has stopped because its source is another cluster, restored
from a dump, say, and you know that it is the right one. A worker whose cursor has
stopped is to be restarted afterwards. When the log is another site's, set
SOURCE_DATABASE_URL as for the worker.

What is here and not in the source is removed. --dry-run counts it. When the source
lacks more than half of what is here of a kind, the reset is refused: it is probably
the wrong one. --remove N says that up to N resources of each kind may go.`,
		Example: `  enqueue cursor reset registry --dry-run
  enqueue cursor reset registry --yes
  enqueue cursor reset registry --yes --remove 1200`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes && !dryRun {
				return cli.Usage(cmd, "everything is compared again: say --yes, or --dry-run to see where it would go on")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				return h.resetCursor(ctx, cmd, args[0], dryRun, remove)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say where it would go on, and what would be removed, and change nothing")
	cmd.Flags().Int64Var(&remove, "remove", 0, "allow up to so many resources of each kind to be removed")
	addJSON(cmd)
	return cmd
}

// place is a position as it is shown.
type place struct {
	Timeline int32 `json:"timeline"`
	Tick     int64 `json:"tick"`
}

// startedOver is the answer to enqueue cursor reset.
type startedOver struct {
	Name   string `json:"name"`
	From   *place `json:"from"` // nil: it has never run
	To     place  `json:"to"`
	DryRun bool   `json:"dry_run"`

	Kinds []reconcile.Overlap `json:"kinds"`
	// Remove is the least --remove without which the reset is refused; 0: not needed.
	Remove int64 `json:"remove"`
}

// errWrongSource says that a source has too little of what is here.
var errWrongSource = errors.New("the source seems to be the wrong one")

func (h *home) resetCursor(ctx context.Context, cmd *cobra.Command, name string, dryRun bool, remove int64) error {
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	consumers := map[string]follow.Rewinder{"registry": &registry.Transposer{Jobs: queue, AllowRemove: remove}}
	consumer, known := consumers[name]
	if !known {
		return h.unknownCursor(ctx, name)
	}
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	result := startedOver{Name: name, DryRun: dryRun}
	w, err := h.startOver(ctx, source, consumer, &result, remove)
	switch {
	case errors.Is(err, eventlog.ErrNoTicks):
		return fmt.Errorf("%w; when the log is another site's, set SOURCE_DATABASE_URL", err)
	case err != nil && !errors.Is(err, errUnwilling):
		return err
	}
	result.To = place{w.To.Timeline.Ordinal, w.To.Tick}
	if w.From != (eventlog.Position{}) {
		result.From = &place{w.From.Timeline.Ordinal, w.From.Tick}
	}
	return answer(cmd, result, result.text())
}

// startOver counts what would be removed, before anything is changed.
func (h *home) startOver(ctx context.Context, source *pgxpool.Pool, consumer follow.Rewinder, r *startedOver, remove int64) (eventlog.Rewind, error) {
	var err error
	if r.Kinds, err = reconcile.Overlaps(ctx, h.Pool, source); err != nil {
		return eventlog.Rewind{}, err
	}
	var worst reconcile.Overlap
	for _, k := range r.Kinds {
		if 2*k.Gone() > k.Here && k.Gone() > worst.Gone() {
			worst = k
		}
	}
	r.Remove = worst.Gone()
	switch {
	case r.DryRun:
		consumer = unwilling{}
	case worst.Gone() > remove:
		return eventlog.Rewind{}, fmt.Errorf("%w: of %d resources of kind %s here it has %d, the others would be removed; nothing is changed: "+
			"check SOURCE_DATABASE_URL, and run it with --dry-run; if it is right, say --remove %d", errWrongSource, worst.Here, worst.Kind, worst.Common, worst.Gone())
	}
	return follow.StartOver(ctx, h.Pool, source, r.Name, consumer)
}

// unknownCursor names those that can be reset, and those that are there.
func (h *home) unknownCursor(ctx context.Context, name string) error {
	names, err := follow.Names(ctx, h)
	if err != nil {
		return err
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
		from = fmt.Sprintf("tick %d of timeline %d", s.From.Tick, s.From.Timeline)
	}
	format := "moved cursor %s from %s to tick %d of timeline %d; everything is compared with the source"
	if s.DryRun {
		format = "would move cursor %s from %s to tick %d of timeline %d, and compare everything with the source"
	}
	var out strings.Builder
	fmt.Fprintf(&out, format+"\n", s.Name, from, s.To.Tick, s.To.Timeline)
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	if len(s.Kinds) > 0 {
		fmt.Fprintln(table, "KIND\tHERE\tTHERE\tIN COMMON\tTO BE REMOVED")
	}
	for _, k := range s.Kinds {
		name := k.Kind
		if k.Unlisted {
			name += " (no table)"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", name, k.Here, k.There, k.Common, k.Gone())
	}
	_ = table.Flush()
	for _, k := range s.Kinds {
		if k.Error != "" {
			fmt.Fprintf(&out, "kind %s cannot be compared: %s\n", k.Kind, k.Error)
		}
	}
	if s.DryRun && s.Remove > 0 {
		fmt.Fprintf(&out, "that is most of a kind: it is refused without --remove %d\n", s.Remove)
	}
	return out.String()
}

// unwilling is a consumer that rolls everything back.
type unwilling struct{}

var errUnwilling = errors.New("nothing is changed")

func (unwilling) Rewound(context.Context, pgx.Tx, eventlog.Rewind) error { return errUnwilling }
