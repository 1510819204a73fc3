package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/cmd/internal/cli"
	"casq/jobs"
	"casq/registry/reconcile"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// replayable is the cursor whose failures can be replayed.
const replayable = "registry"

func replayCommand() *cobra.Command {
	var r replay
	cmd := &cobra.Command{
		Use:   "replay (--kind KIND [--key KEY] | --all)",
		Short: "Re-fetch resources whose events could not be applied",
		Long: `Replay re-fetches the resources of which events were dead-lettered (casq.event_failures):
what the source has of them now is copied as it is, what it does not have is
removed. Do it when the reason is gone, else they are refused again. Running it twice
is harmless. When the log is another site's, set SOURCE_DATABASE_URL as for the
worker.`,
		Example: `  enqueue replay --all --dry-run
  enqueue replay --kind artifact --key builds/42/out.zip`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&r.cursor, "cursor", replayable, "whose failures; only the registry's can be replayed")
	cmd.Flags().StringVar(&r.kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringVar(&r.key, "key", "", "one resource")
	cmd.Flags().BoolVar(&r.all, "all", false, "all resources of all kinds")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "say how many there are, and change nothing")
	r.consent.add(cmd)
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case r.all == (r.kind != ""):
			return cli.Usage(cmd, "want one of --kind and --all")
		case r.key != "" && r.kind == "":
			return cli.Usage(cmd, "--key needs --kind: the kind of the resource")
		case r.cursor != replayable:
			return cli.Usage(cmd, "--cursor may be %s: other consumers have no resources that could be re-fetched", replayable)
		}
		return withHome(cmd, func(ctx context.Context, h *home) error { return h.replay(ctx, cmd, r) })
	}
	return cmd
}

// replay is the command line of enqueue replay.
type replay struct {
	cursor, kind, key string
	all, dryRun       bool
	consent
}

// replayed is the answer to it.
type replayed struct {
	Failures int64 `json:"failures"`
	Copied   int   `json:"copied"`
	Removed  int   `json:"removed"`
	Late     int   `json:"left_to_the_log"`
	Unknown  int   `json:"neither_here_nor_there"`
	DryRun   bool  `json:"dry_run"`
}

// failures are open ones.
type failures struct {
	Cursor string    `json:"cursor"`
	Kind   string    `json:"kind"`
	Count  int64     `json:"count"`
	Oldest time.Time `json:"oldest"`
}

// failures counts the open failures; of everything when kind and key are nil.
func (h *home) failures(ctx context.Context, kind, key *string) ([]failures, error) {
	rows, err := h.Query(ctx, reportSQL.Failures, kind, key)
	if err != nil {
		return nil, fmt.Errorf("count failures: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[failures])
	if err != nil {
		return nil, fmt.Errorf("count failures: %w", err)
	}
	return all, nil
}

func (h *home) replay(ctx context.Context, cmd *cobra.Command, r replay) error {
	open, err := h.openFailures(ctx, r)
	if err != nil {
		return err
	}
	if open == 0 && r.kind != "" {
		// Nothing to do, unless the name is wrong. A kind that home refuses to
		// have has failures and is not known.
		if err := h.checkKind(ctx, r.kind); err != nil {
			return err
		}
	}
	if r.dryRun {
		return answer(cmd, replayed{Failures: open, DryRun: true}, fmt.Sprintf("would re-fetch the resources of %s", plural(open, "failure", "failures")))
	}
	if ctx, err = r.consent.get(ctx, cmd, open, "re-fetches up to"); err != nil {
		return err
	}
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	source, closeSource, err := h.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	progress := cli.NewProgress(cmd.ErrOrStderr(), "replay", open)
	report, err := reconcile.Replay(ctx, h.Pool, source, queue, reconcile.ReplayOptions{Kind: r.kind, ResourceID: r.key, Progress: progress.Set})
	progress.Close()
	result := replayed{Failures: report.Failures, Copied: report.Copied, Removed: report.Removed, Late: report.Late, Unknown: report.Unknown}
	if errors.Is(err, reconcile.ErrUnlisted) {
		err = fmt.Errorf("%w\nappend a new event of each such resource instead (casq.append_event)", err)
	}
	return errors.Join(answer(cmd, result, result.text()), err)
}

func (h *home) openFailures(ctx context.Context, r replay) (open int64, err error) {
	var kind, key *string
	if r.kind != "" {
		kind = &r.kind
	}
	if r.key != "" {
		key = &r.key
	}
	all, err := h.failures(ctx, kind, key)
	for _, f := range all {
		if f.Cursor == r.cursor {
			open += f.Count
		}
	}
	return open, err
}

func (r replayed) text() string {
	return fmt.Sprintf("replayed %s: %d resources are there and asked for, %d are not there and to be removed, %d are left to newer events, %d are neither here nor there",
		plural(r.Failures, "failure", "failures"), r.Copied, r.Removed, r.Late, r.Unknown)
}
