package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

//go:embed report.sql
var reportText string

// reportSQL has the statements of report.sql.
var reportSQL = queries.Parse[struct {
	Report, Kinds, RefreshState, RefreshDrift, Failures, Selection, Selecting, Verified, Audit string
}]("enqueue/report", reportText)

const reconcileHelp = `Reconcile asks a worker to compare the registry with the source's tables, both ways:
resources without a row get one, rows without a resource are removed, what is to be done and
has no job gets one, and staging that nobody needs goes. Nothing is copied again that
is in place. Workers do it now and then by themselves.

With --walk it also reads what is in place in the targets. What is there and of no
row is an orphan: it is counted and named (casq.reconcile_orphans), and removed only
with --remove-orphans, since the folder may have other resources than casq's. What was
removed and is back is removed again, what is not there is copied again.

A kind that cannot be compared, as its table is gone, say, gets a run of its own, which
tries again until it can be; the others are compared meanwhile.

When more than half of the rows of a kind, and more than 100, have no resource in the
source, no row of them is removed; --remove N allows up to N of each kind.

With --dry-run the worker reports what it would do. With --wait the report is shown
when it is complete; it stays in casq.reconcile_report. Its columns count, by kind:

  EXAMINED         resources of the source and rows of the registry, together
  CREATED          resources that had no row and got one: they are copied
  ADOPTED          those of them where something is in place already: it is compared
                   first, and copied only where it differs
  CHANGED          rows that wanted something else than the source has
  REMOVED          rows whose resource the source has not: what is in place is removed
  REQUEUED         rows that waited for a job that was not there
  CHECKS           resources in place whose content is compared, since that was long ago
  LATE             differences that the log is still to tell of: left to it
  STAGING REMOVED  what dead runs have left behind in the target
  HELD BACK        rows that would have been removed, and were too many (--remove)
  ORPHANS          what is in place and of no row (--walk)
  ORPHANS REMOVED  those of them that were removed (--remove-orphans)`

func reconcileCommand() *cobra.Command {
	var request registry.Request
	var p patience
	cmd := &cobra.Command{
		Use:   "reconcile [--kind KIND]",
		Short: "Compare the registry with the source",
		Long:  reconcileHelp,
		Example: `  enqueue reconcile --dry-run --wait
  enqueue reconcile --kind artifact --wait --json
  enqueue reconcile --walk --remove-orphans --dry-run --wait`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if request.RemoveOrphans && !request.Walk {
				return cli.Usage(cmd, "--remove-orphans needs --walk, which finds them")
			}
			if err := p.check(cmd); err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if request.Kind != "" {
					if err := h.checkKind(ctx, request.Kind); err != nil {
						return err
					}
				}
				request.Reason = registry.Asked
				return h.reconcile(ctx, cmd, request, p)
			})
		},
	}
	cmd.Flags().StringVar(&request.Kind, "kind", "", "one kind of resources; all by default")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "report what would be done, and do nothing")
	cmd.Flags().BoolVar(&request.Walk, "walk", false, "also compare what is in place in the targets with the registry")
	cmd.Flags().BoolVar(&request.RemoveOrphans, "remove-orphans", false, "remove what is in place and of no row")
	cmd.Flags().Int64Var(&request.AllowRemove, "remove", 0, "allow up to so many resources of each kind to be removed")
	p.add(cmd, "return when the report is complete, and show it")
	addJSON(cmd)
	return cmd
}

// reconciled is the answer to enqueue reconcile.
type reconciled struct {
	Run     int64        `json:"run"`
	Kind    string       `json:"kind,omitempty"` // none: all
	DryRun  bool         `json:"dry_run"`
	State   string       `json:"state"`
	Phase   string       `json:"-"`
	Waiting string       `json:"waiting,omitempty"` // why it stands still
	Report  []kindReport `json:"report"`
	Orphans []orphan     `json:"orphans,omitempty"` // the first of them
	Parts   []part       `json:"not_compared,omitempty"`
}

// part is a kind that could not be compared, and has a run of its own, which tries
// again unless it is a dry one.
type part struct {
	Run    int64  `json:"run"`
	Kind   string `json:"kind"`
	Reason string `json:"reason"`
}

// errNotCompared makes the program exit with 1 when it has waited for a comparison
// and some kinds could not be compared.
var errNotCompared = errors.New("some kinds could not be compared")

// orphan is what is in place and of no row.
type orphan struct {
	Kind       string `json:"kind"`
	ResourceID string `json:"resource_id"`
}

// kindReport is what was found of a kind.
type kindReport struct {
	Kind           string `json:"kind"`
	Unlisted       bool   `json:"unlisted"` // the source has no table of it
	Examined       int64  `json:"examined"`
	Created        int64  `json:"created"`
	Adopted        int64  `json:"adopted"`
	Changed        int64  `json:"changed"`
	Removed        int64  `json:"removed"`
	Requeued       int64  `json:"requeued"`
	Checks         int64  `json:"checks"`
	Late           int64  `json:"late"`
	StagingRemoved int64  `json:"staging_removed"`
	HeldBack       int64  `json:"held_back"`
	Orphans        int64  `json:"orphans"`
	OrphansRemoved int64  `json:"orphans_removed"`
}

func (h *home) reconcile(ctx context.Context, cmd *cobra.Command, request registry.Request, p patience) error {
	r := reconciled{Kind: request.Kind, DryRun: request.DryRun}
	err := pgx.BeginFunc(ctx, h.Pool, func(tx pgx.Tx) (err error) {
		r.Run, err = registry.Ask(ctx, tx, request)
		return err
	})
	if err != nil {
		return err
	}
	if !request.DryRun {
		if err := registry.CompareViews(ctx, h.Pool, request.Kind); err != nil {
			h.log.Warn("tracked views are compared once a day only, or by SELECT casq.compare_view(kind)", "err", err)
		}
	}
	if p.wait {
		err = h.awaitReport(ctx, cmd, p, &r)
	} else {
		err = h.readReport(ctx, &r)
	}
	return errors.Join(answer(cmd, r, r.text()), err)
}

func (h *home) readReport(ctx context.Context, r *reconciled) error {
	err := h.QueryRow(ctx, reportSQL.Report, r.Run, mostNamed).Scan(&r.State, &r.Phase, &r.Waiting, &r.Report, &r.Orphans, &r.Parts)
	if err != nil {
		return fmt.Errorf("read the report of run %d: %w", r.Run, err)
	}
	return nil
}

// awaitReport reads the report once it is complete.
func (h *home) awaitReport(ctx context.Context, cmd *cobra.Command, p patience, r *reconciled) error {
	progress := cli.NewProgress(cmd.ErrOrStderr(), "reconcile", 0)
	defer progress.Close()
	ctx, waits := p.start(ctx, h, progress)
	defer waits.stop()
	for {
		began := time.Now()
		if err := h.readReport(ctx, r); err != nil {
			return waits.failed(ctx, err)
		}
		if r.State == "finished" && len(r.Parts) > 0 {
			return errNotCompared
		}
		if r.State == "finished" {
			return nil
		}
		progress.Set(r.examined())
		if err := waits.pause(ctx, time.Since(began)); err != nil {
			return fmt.Errorf("wait for run %d, which is %s: %w", r.Run, r.state(), waits.failed(ctx, err))
		}
	}
}

func (r reconciled) examined() (n int64) {
	for _, k := range r.Report {
		n += k.Examined
	}
	return n
}

func (r reconciled) state() string {
	if r.Waiting != "" && r.State == "waiting" {
		return "waiting: " + cli.Line(r.Waiting)
	}
	return r.State
}

func (r reconciled) text() string {
	dry := ""
	if r.DryRun {
		dry = " (dry: nothing is done)"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "reconcile run %d%s: %s\n", r.Run, dry, r.state())
	for _, p := range r.Parts {
		fmt.Fprintf(&out, "kind %s could not be compared (run %d): %s\n", p.Kind, p.Run, cli.Line(p.Reason))
	}
	if len(r.Report) == 0 {
		return out.String()
	}
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join([]string{
		"KIND", "EXAMINED", "CREATED", "ADOPTED", "CHANGED", "REMOVED", "REQUEUED", "CHECKS", "LATE",
		"STAGING REMOVED", "HELD BACK", "ORPHANS", "ORPHANS REMOVED",
	}, "\t"))
	for _, k := range r.Report {
		name := k.Kind
		switch {
		case name == "":
			name = "(staging)"
		case k.Unlisted:
			name += " (no table)"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name,
			k.Examined, k.Created, k.Adopted, k.Changed, k.Removed, k.Requeued, k.Checks, k.Late, k.StagingRemoved,
			k.HeldBack, k.Orphans, k.OrphansRemoved)
	}
	_ = table.Flush()
	for _, o := range r.Orphans {
		fmt.Fprintf(&out, "orphan: %s %s\n", o.Kind, cli.Name(o.ResourceID))
	}
	return out.String()
}
