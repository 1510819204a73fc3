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
	"casq/registry"
	"casq/registry/reconcile"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// mostScopes bounds the scopes that are named in a line.
const mostScopes = 10

func selectCommand() *cobra.Command {
	var s selecting
	cmd := &cobra.Command{
		Use:   "select [--kind KIND (--scope SCOPE... | --none | --all)]",
		Short: "Say what this site has of a kind, or show it",
		Long: `Select limits this site to what is in some scopes of a kind (the scope column with
which its table is tracked, such as a project), or to nothing of it. What is outside
is removed here, what enters is copied; and so is what moves out or in from then on.
Other sites, the source and counters are not affected. When the log is another
site's, set SOURCE_DATABASE_URL as for the worker. Without --kind it shows what is
selected; casq.selections has the same.

A worker does the work. With --wait the command returns when each resource that enters
is in place and each that leaves is gone, or has failed, and exits with 1 when any
has failed.`,
		Example: `  enqueue select --kind artifact --scope 7 --scope 8 --dry-run
  enqueue select --kind artifact --scope 7 --scope 8 --wait
  enqueue select --kind repository --none
  enqueue select --kind artifact --all      # as it is without any selection
  enqueue select`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&s.kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringArrayVar(&s.scopes, "scope", nil, "only what is in this scope, and in others that are named")
	cmd.Flags().BoolVar(&s.none, "none", false, "nothing of the kind")
	cmd.Flags().BoolVar(&s.all, "all", false, "all of the kind")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "say how many resources would be added and removed, and change nothing")
	s.consent.add(cmd)
	s.patience.add(cmd, "return when it is done, or has failed")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.check(cmd); err != nil {
			return err
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			if s.given == 0 {
				return h.showSelections(ctx, cmd, s.kind)
			}
			return h.selectKind(ctx, cmd, s)
		})
	}
	return cmd
}

// selecting is the command line of enqueue select.
type selecting struct {
	kind      string
	scopes    []string
	none, all bool
	dryRun    bool
	consent
	patience
	given int // how many of --scope, --none and --all
}

func (s *selecting) check(cmd *cobra.Command) error {
	s.given = count(cmd.Flags().Changed("scope"), s.none, s.all)
	switch {
	case s.given > 1:
		return cli.Usage(cmd, "want one of --scope, --none and --all")
	case s.given == 1 && s.kind == "":
		return cli.Usage(cmd, "--kind is required: the kind of the resources")
	case s.given == 0 && (s.dryRun || s.wait):
		return cli.Usage(cmd, "want one of --scope, --none and --all: else nothing changes")
	case s.dryRun && s.wait:
		return cli.Usage(cmd, "--dry-run changes nothing: there is nothing to --wait for")
	}
	return s.patience.check(cmd)
}

func (s *selecting) selection() registry.Selection {
	want := registry.Selection{Kind: s.kind, Scopes: slices.Compact(slices.Sorted(slices.Values(s.scopes)))}
	switch {
	case s.all:
		want.Scopes = nil
	case s.none:
		want.Scopes = []string{}
	}
	return want
}

// selectedKind is what is selected of a kind.
type selectedKind struct {
	Kind      string     `json:"kind"`
	Scopes    []string   `json:"scopes"` // null: all; empty: nothing
	ChangedAt *time.Time `json:"changed_at"`
	Resources int64      `json:"resources"`     // that this site has, or is to have
	Run       int64      `json:"run,omitempty"` // that applies a change, while it has not ended
}

// selectedAnswer is the answer to a change.
type selectedAnswer struct {
	Kind    string   `json:"kind"`
	Scopes  []string `json:"scopes"`
	DryRun  bool     `json:"dry_run"`
	Run     int64    `json:"run,omitempty"` // none: it was selected already
	Added   *int64   `json:"added,omitempty"`
	Removed *int64   `json:"removed,omitempty"`
	Outcome *outcome `json:"outcome,omitempty"` // with --wait
}

func (h *home) showSelections(ctx context.Context, cmd *cobra.Command, kind string) error {
	var one *string
	if kind != "" {
		if err := h.checkKind(ctx, kind); err != nil {
			return err
		}
		one = &kind
	}
	rows, err := h.Query(ctx, reportSQL.Selection, one)
	if err != nil {
		return fmt.Errorf("read selections: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[selectedKind])
	if err != nil {
		return fmt.Errorf("read selections: %w", err)
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "KIND\tSELECTED\tRESOURCES\tSINCE\tRUN")
	for _, k := range all {
		since, run := "-", "-"
		if k.ChangedAt != nil {
			since = k.ChangedAt.Format(time.RFC3339)
		}
		if k.Run != 0 {
			run = fmt.Sprintf("%d, not finished", k.Run)
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", k.Kind, scopesText(k.Scopes), k.Resources, since, run)
	}
	_ = table.Flush()
	return answer(cmd, struct {
		Kinds []selectedKind `json:"kinds"`
	}{all}, out.String())
}

func scopesText(scopes []string) string {
	switch n := len(scopes); {
	case scopes == nil:
		return "all"
	case n == 0:
		return "nothing"
	case n > mostScopes:
		return fmt.Sprintf("scopes %s and %d more", cli.Names(scopes[:mostScopes]), n-mostScopes)
	case n == 1:
		return "scope " + cli.Name(scopes[0])
	default:
		return "scopes " + cli.Names(scopes)
	}
}

func (h *home) selectKind(ctx context.Context, cmd *cobra.Command, s selecting) error {
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	want := s.selection()
	result := selectedAnswer{Kind: want.Kind, Scopes: want.Scopes, DryRun: s.dryRun}
	what := fmt.Sprintf("%s of kind %s", scopesText(want.Scopes), want.Kind)
	if s.dryRun {
		progress := cli.NewProgress(cmd.ErrOrStderr(), "compare "+want.Kind, 0)
		n, err := reconcile.CountSelection(ctx, h.Pool, source, want, progress.Set)
		progress.Close()
		if err != nil {
			return err
		}
		result.Added, result.Removed = &n.Added, &n.Removed
		return answer(cmd, result, fmt.Sprintf("would select %s: %s added, %d removed", what, plural(n.Added, "resource", "resources"), n.Removed))
	}
	most, err := h.resourcesOf(ctx, want.Kind)
	if err != nil {
		return err
	}
	if !s.all { // which only adds
		if ctx, err = s.consent.get(ctx, cmd, most, "keeps or removes"); err != nil {
			return err
		}
	}
	if result.Run, err = registry.Select(ctx, h.Pool, source, want); err != nil {
		return err
	}
	text := fmt.Sprintf("selected %s, applied by reconcile run %d", what, result.Run)
	if result.Run == 0 {
		text = fmt.Sprintf("selected %s, as before", what)
	}
	if s.wait {
		var waited string
		waited, err = h.awaitSelection(ctx, cmd, s.patience, &result)
		text += waited
	}
	return errors.Join(answer(cmd, result, text), err)
}

// awaitSelection waits for the run, and then for what is left to be done of the
// kind.
func (h *home) awaitSelection(ctx context.Context, cmd *cobra.Command, p patience, result *selectedAnswer) (text string, err error) {
	if result.Run != 0 {
		r := reconciled{Run: result.Run, Kind: result.Kind}
		if err := h.awaitReport(ctx, cmd, p, &r); err != nil {
			return "", err
		}
		added, removed := int64(0), int64(0)
		for _, k := range r.Report {
			added, removed = added+k.Created+k.Adopted, removed+k.Removed
		}
		result.Added, result.Removed = &added, &removed
		text = fmt.Sprintf("\n%s added, %d removed", plural(added, "resource", "resources"), removed)
	}
	w, err := h.newWaiter(ctx)
	if err != nil {
		return text, err
	}
	defer w.close()
	left, err := w.conn.Exec(ctx, reportSQL.Selecting, result.Kind)
	if err != nil {
		return text, fmt.Errorf("note what to wait for: %w", err)
	}
	w.total = left.RowsAffected()
	o, err := w.wait(ctx, cmd, p, h, "select", result.Kind)
	if err != nil {
		return text, err
	}
	result.Outcome = &o
	return text + "\n" + o.text("done"), o.err()
}
