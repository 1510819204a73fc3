package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

func kindCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kind",
		Short: "List the kinds, and change, move or drop one",
		Long: `Each kind of files or repositories has a folder of its own at the target, named
like it unless casq.track was told otherwise. A kind is changed, moved and dropped on
this site only: others go on as they are.`,
		Example: `  enqueue kind list
  enqueue kind set wiki --missing absent --quiet 2s --probe 1m
  enqueue kind move document --prefix archive/documents
  enqueue kind drop document --remove --yes`,
	}
	cmd.AddCommand(kindListCommand(), kindSetCommand(), kindMoveCommand(), kindDropCommand())
	return cmd
}

func kindListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the kinds, where they are, and what there is of each",
		Long: `List shows each kind that this site knows:

  PREFIX     its folder at the target; / is the top
  SOURCE     the folder at the source that its keys are relative to, likewise
  MISSING    what a resource is that the source does not have: failed, or absent
  QUIET      what changes often is copied when it has not changed for so long
  PROBE      how often what is in place is compared with the source
  TABLE      the one that is tracked here; a site that follows another has no table
  RESOURCES  that this site has, or is to have
  TO DO      those that are still to be copied or removed, or have failed`,
		Example: "  enqueue kind list --json | jq '.kinds[] | select(.to_do > 0)'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error { return h.listKinds(ctx, cmd) })
		},
	}
	addJSON(cmd)
	return cmd
}

// listedKind is a kind of this site.
type listedKind struct {
	Kind         string  `json:"kind"`
	Transfer     string  `json:"transfer"`
	Queue        string  `json:"queue"`
	Prefix       *string `json:"prefix"` // null: it has no files
	SourcePrefix *string `json:"source_prefix"`
	Missing      string  `json:"missing"`
	Quiet        float64 `json:"quiet_seconds"` // 0: at once
	Probe        float64 `json:"probe_seconds"` // 0: never
	Table        *string `json:"table"`         // null: no table is tracked here
	Resources    int64   `json:"resources"`
	ToDo         int64   `json:"to_do"`
}

func (h *home) listKinds(ctx context.Context, cmd *cobra.Command) error {
	rows, err := h.Query(ctx, reportSQL.Kinds)
	if err != nil {
		return fmt.Errorf("list kinds: %w", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowToStructByPos[listedKind])
	if err != nil {
		return fmt.Errorf("list kinds: %w", err)
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "KIND\tTRANSFER\tQUEUE\tPREFIX\tSOURCE\tMISSING\tQUIET\tPROBE\tTABLE\tRESOURCES\tTO DO")
	for _, k := range kinds {
		tracked := "-"
		if k.Table != nil {
			tracked = cli.Name(*k.Table)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", k.Kind, k.Transfer, k.Queue, folder(k.Prefix), folder(k.SourcePrefix),
			k.Missing, pace(k.Quiet), pace(k.Probe), tracked, k.Resources, k.ToDo)
	}
	_ = table.Flush()
	return answer(cmd, struct {
		Kinds []listedKind `json:"kinds"`
	}{kinds}, out.String())
}

// folder is a prefix as it is shown.
func folder(prefix *string) string {
	switch {
	case prefix == nil:
		return "-"
	case *prefix == "":
		return "/"
	default:
		return cli.Name(*prefix)
	}
}

func kindMoveCommand() *cobra.Command {
	var m moving
	cmd := &cobra.Command{
		Use:   "move KIND --prefix FOLDER",
		Short: "Move a kind to another folder at this site's target",
		Long: `Move sets a kind's folder, and has all that this site has of it copied anew
to there. Workers that run notice: what they are copying to the old place is not
published. What is at the old place stays there and is of no row any more; delete it
when you like. A file that is in the new place already, and is of the SHA-256 that its
payload names, is not copied again: rename the folder before the move to save the
copies.

To have the old place emptied by casq instead, first: enqueue select --kind KIND
--none --wait, and after the move --all, or what was selected. With --prefix '' the
kind has the top of the target. Kinds may share a tree, as repositories and their
wikis do: the move is refused where resources of two would share a place.

The move is one transaction: of a million files it takes a minute, in which the log
waits. Repeated it does nothing.`,
		Example: `  enqueue kind move document --prefix archive/documents --dry-run
  enqueue kind move document --prefix archive/documents`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("prefix") {
				return cli.Usage(cmd, "--prefix is required: the folder at the target")
			}
			m.kind = args[0]
			return withHome(cmd, func(ctx context.Context, h *home) error { return h.moveKind(ctx, cmd, m) })
		},
	}
	cmd.Flags().StringVar(&m.prefix, "prefix", "", "the folder at the target that the kind gets")
	cmd.Flags().BoolVar(&m.dryRun, "dry-run", false, "say how many resources would be copied anew, and change nothing")
	m.consent.add(cmd)
	addJSON(cmd)
	return cmd
}

// moving is the command line of enqueue kind move.
type moving struct {
	kind, prefix string
	dryRun       bool
	consent
}

// movedKind is the answer to enqueue kind move.
type movedKind struct {
	Kind   string `json:"kind"`
	From   string `json:"from"`
	To     string `json:"to"`
	Asked  int    `json:"asked"` // resources that are copied anew
	DryRun bool   `json:"dry_run"`
}

func (h *home) moveKind(ctx context.Context, cmd *cobra.Command, m moving) error {
	if err := h.checkKind(ctx, m.kind); err != nil {
		return err
	}
	most, err := h.resourcesOf(ctx, m.kind)
	if err != nil {
		return err
	}
	if !m.dryRun {
		if ctx, err = m.consent.get(ctx, cmd, most, "has copied anew"); err != nil {
			return err
		}
	}
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "move "+m.kind, most)
	moved, err := registry.MoveKind(ctx, h.Pool, queue, m.kind, m.prefix, registry.MoveOptions{
		DryRun: m.dryRun, Progress: func(n int) { progress.Set(int64(n)) },
	})
	progress.Close()
	if err != nil {
		return err
	}
	from, to := folder(&moved.From), folder(&moved.To)
	what := plural(int64(moved.Asked), "resource", "resources")
	text := fmt.Sprintf("moved %s from %s to %s: %s copied anew; what is at %s stays there and is nobody's", m.kind, from, to, what, from)
	switch {
	case from == to:
		text = fmt.Sprintf("%s is at %s already", m.kind, to)
	case m.dryRun:
		text = fmt.Sprintf("would move %s from %s to %s: %s copied anew", m.kind, from, to, what)
	}
	return answer(cmd, movedKind{Kind: m.kind, From: moved.From, To: moved.To, Asked: moved.Asked, DryRun: m.dryRun}, text)
}

func kindDropCommand() *cobra.Command {
	var d dropping
	cmd := &cobra.Command{
		Use:   "drop KIND [--remove | --keep] --yes",
		Short: "End a kind on this site",
		Long: `Drop makes this site forget a kind: its rows, its jobs, its selection. Another kind
may have its place and its name then. What there is of it is

  --remove   removed first, by the workers, as by a delete of each; the command waits
             for that. Broken off, or timed out, it goes on where it is repeated.
  --keep     left in place, and is nobody's. What a worker is copying is not
             published.

Without either the kind is dropped only if there is nothing of it. Its table must not
be tracked any more (SELECT casq.untrack(kind => ...)), and all of its events must
have been read. Where this site follows another, the kind is dropped there first, or
it would be learned again: SELECT casq.drop_kind(...); set SOURCE_DATABASE_URL as for
the worker. Counters of the kind stay, as not exact.`,
		Example: `  enqueue kind drop document --remove --dry-run
  enqueue kind drop document --remove --yes
  enqueue kind drop document --keep --yes`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.kind, d.wait = args[0], d.remove
			switch {
			case d.remove && d.keep:
				return cli.Usage(cmd, "want --remove or --keep, not both")
			case !d.yes && !d.dryRun:
				return cli.Usage(cmd, "what the registry knows of the kind is forgotten: say --yes, or --dry-run to see what there is")
			}
			if err := d.check(cmd); err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error { return h.dropKind(ctx, cmd, d) })
		},
	}
	cmd.Flags().BoolVar(&d.remove, "remove", false, "have what is in place removed first")
	cmd.Flags().BoolVar(&d.keep, "keep", false, "leave what is in place, as nobody's")
	cmd.Flags().BoolVar(&d.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "say what there is of the kind, and change nothing")
	cli.DurationVar(cmd, &d.limit, "timeout", "with --remove: give up waiting after this time, with exit code 1; the removals go on")
	addJSON(cmd)
	return cmd
}

// dropping is the command line of enqueue kind drop.
type dropping struct {
	kind                      string
	remove, keep, yes, dryRun bool
	patience
}

// droppedKind is the answer to enqueue kind drop.
type droppedKind struct {
	Kind      string   `json:"kind"`
	DryRun    bool     `json:"dry_run"`
	Removed   int64    `json:"removed"`   // with --remove
	Forgotten int64    `json:"forgotten"` // with --keep
	Outcome   *outcome `json:"outcome,omitempty"`
}

func (h *home) dropKind(ctx context.Context, cmd *cobra.Command, d dropping) error {
	if err := errors.Join(h.checkKind(ctx, d.kind), h.checkGone(ctx, d.kind)); err != nil {
		return err
	}
	result := droppedKind{Kind: d.kind, DryRun: d.dryRun}
	live, tracked, err := h.kindState(ctx, d.kind)
	if err != nil {
		return err
	}
	switch {
	case tracked != nil:
		return fmt.Errorf("%w: kind %s is that of table %s; SELECT casq.untrack(kind => '%s') first", registry.ErrKind, d.kind, cli.Name(*tracked), d.kind)
	case d.remove && d.dryRun:
		result.Removed = live
		return answer(cmd, result, fmt.Sprintf("would drop kind %s: %s removed", d.kind, plural(live, "resource", "resources")))
	case d.remove:
		if err := h.emptyKind(ctx, cmd, d, &result); err != nil {
			return errors.Join(answer(cmd, result, fmt.Sprintf("kind %s is not dropped yet; repeat the command to go on", d.kind)), err)
		}
		result.Removed = live
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "forget "+d.kind, live)
	result.Forgotten, err = registry.DropKind(ctx, h.Pool, d.kind, d.keep, d.dryRun, progress.Set)
	progress.Close()
	if err != nil {
		return err
	}
	done := "dropped"
	if d.dryRun {
		done = "would drop"
	}
	text := fmt.Sprintf("%s kind %s", done, d.kind)
	switch {
	case d.keep:
		text += fmt.Sprintf(": %s forgotten, what is in place stays there", plural(result.Forgotten, "row", "rows"))
	case d.remove:
		text += fmt.Sprintf(": %s removed", plural(result.Removed, "resource", "resources"))
	}
	return answer(cmd, result, text)
}

// kindState tells what there is of a kind, and as which table it is tracked here.
func (h *home) kindState(ctx context.Context, kind string) (live int64, tracked *string, err error) {
	err = h.QueryRow(ctx, `SELECT (SELECT count(*) FROM casq.registry AS r WHERE r.kind = $1 AND r.deleted_at IS NULL),
		(SELECT t.name FROM casq.tracked AS t WHERE t.kind = $1)`, kind).Scan(&live, &tracked)
	if err != nil {
		return 0, nil, fmt.Errorf("find what there is of kind %s: %w", kind, err)
	}
	return live, tracked, nil
}

// checkGone refuses a kind that the source has: this site would learn it again.
func (h *home) checkGone(ctx context.Context, kind string) error {
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	if source == h.Pool {
		return nil
	}
	kinds, err := eventlog.Kinds(ctx, source)
	if err != nil {
		return err
	}
	if _, there := kinds[kind]; there {
		return fmt.Errorf("%w: the source has kind %s, and it would be learned again; there first: SELECT casq.untrack(kind => '%[2]s'), and SELECT casq.drop_kind('%[2]s')",
			registry.ErrKind, kind)
	}
	return nil
}

// emptyKind has everything of the kind removed, and waits until nothing is left.
func (h *home) emptyKind(ctx context.Context, cmd *cobra.Command, d dropping, result *droppedKind) error {
	run, err := registry.EmptyKind(ctx, h.Pool, d.kind)
	if err != nil {
		return err
	}
	selected := selectedAnswer{Kind: d.kind, Run: run}
	_, err = h.awaitSelection(ctx, cmd, d.patience, &selected)
	result.Outcome = selected.Outcome
	return err
}
