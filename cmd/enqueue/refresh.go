package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"casq/cmd/internal/cli"
	"casq/counter/recount"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

// refresh is the command line of enqueue refresh.
type refresh struct {
	kind       string
	scopes     []string
	all, check bool
	patience
}

func refreshCommand() *cobra.Command {
	var r refresh
	cmd := &cobra.Command{
		Use:   "refresh --kind KIND (--scope SCOPE... | --all)",
		Short: "Recount counters while resources change",
		Long: `Refresh sums a table up again, by scope, and swaps the exact values in. Creates,
deletes and changes go on meanwhile; until the swap the old values stay, and stay
readable. SELECT * FROM casq.refresh_status tells how far it is.

With --check nothing is swapped in: it tells whether the counters differ from their
table, and exits with 1 when they do.`,
		Example: `  enqueue refresh --kind artifact --scope 7 --wait
  enqueue refresh --kind artifact --all --check --wait --json
  enqueue refresh cancel 42`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&r.kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringArrayVar(&r.scopes, "scope", nil, "one scope; give it again for more")
	cmd.Flags().BoolVar(&r.all, "all", false, "all scopes of the kind, in one pass over the table")
	cmd.Flags().BoolVar(&r.check, "check", false, "compare, and change nothing")
	r.patience.add(cmd, "return when it is over, with what it came to")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case r.kind == "":
			return cli.Usage(cmd, "--kind is required: the kind of the resources")
		case r.all == (len(r.scopes) > 0):
			return cli.Usage(cmd, "want one of --scope and --all")
		}
		if err := r.patience.check(cmd); err != nil {
			return err
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			if err := h.checkKind(ctx, r.kind); err != nil {
				return err
			}
			return h.refresh(ctx, cmd, r)
		})
	}
	cmd.AddCommand(refreshCancelCommand())
	return cmd
}

// recount is what enqueue refresh says with --json.
type recounted struct {
	Kind    string        `json:"kind"`
	IDs     []int64       `json:"ids"` // in casq.refreshes
	Check   bool          `json:"check"`
	Outcome *recountState `json:"outcome,omitempty"` // with --wait
}

// recountState is how far a recount is, and in the end its certificate.
type recountState struct {
	Open   int64 `json:"-"`
	Total  int64 `json:"scopes"`
	Done   int64 `json:"done"`
	Failed int64 `json:"failed"` // or cancelled
	// Differ is how many counters were not what the table says.
	Differ int64      `json:"differ"`
	Reason string     `json:"reason,omitempty"`
	Host   string     `json:"host"`
	Rows   int64      `json:"rows"`
	Tick   int64      `json:"tick"`
	Took   float64    `json:"seconds"`
	Drift  []drifting `json:"drift"` // the first of those that differed
	Values []drifting `json:"-"`     // of the scopes that were named
}

type drifting struct {
	Scope    string `json:"scope"`
	OldSize  string `json:"old_size"`
	NewSize  string `json:"new_size"`
	OldItems int64  `json:"old_items"`
	NewItems int64  `json:"new_items"`
}

func (h *home) refresh(ctx context.Context, cmd *cobra.Command, r refresh) error {
	recounts, closeCounters, err := h.recounts()
	if err != nil {
		return err
	}
	defer closeCounters()
	scan, ids, err := recounts.Refresh(ctx, recount.Request{Kind: r.kind, Scopes: r.scopes, All: r.all, Compare: r.check})
	if err != nil {
		return err
	}
	result := recounted{Kind: r.kind, IDs: ids, Check: r.check}
	text := fmt.Sprintf("asked for a recount of kind %s, as %s", r.kind, numbers(ids))
	if r.check {
		text = fmt.Sprintf("asked for a comparison of kind %s, as %s", r.kind, numbers(ids))
	}
	if !r.wait {
		return answer(cmd, result, text)
	}
	s, err := h.awaitRecount(ctx, cmd, r, scan)
	if err != nil {
		return errors.Join(answer(cmd, result, text), err)
	}
	result.Outcome = &s
	return errors.Join(answer(cmd, result, text+"\n"+s.text(r.check)), s.err(r.check))
}

func numbers(ids []int64) string {
	texts := make([]string, 0, mostNamed)
	for _, id := range ids[:min(len(ids), mostNamed)] {
		texts = append(texts, strconv.FormatInt(id, 10))
	}
	if len(ids) > mostNamed {
		texts = append(texts, "...")
	}
	return strings.Join(texts, ", ")
}

// awaitRecount returns when all recounts of a scan are over.
func (h *home) awaitRecount(ctx context.Context, cmd *cobra.Command, r refresh, scan int64) (s recountState, err error) {
	progress := cli.NewProgress(cmd.ErrOrStderr(), "recount "+r.kind, int64(len(r.scopes)))
	defer progress.Close()
	ctx, waits := r.patience.start(ctx, h, progress, jobs.RefreshQueue, jobs.FinalizeQueue)
	defer waits.stop()
	for {
		began := time.Now()
		err := h.QueryRow(ctx, reportSQL.RefreshState, scan).
			Scan(&s.Open, &s.Total, &s.Done, &s.Failed, &s.Differ, &s.Reason, &s.Host, &s.Rows, &s.Tick, &s.Took)
		if err != nil {
			return s, fmt.Errorf("read how far the recount is: %w", waits.failed(ctx, err))
		}
		progress.Set(s.Done)
		if s.Open == 0 {
			break
		}
		if err := waits.pause(ctx, time.Since(began)); err != nil {
			return s, fmt.Errorf("wait, with %d not recounted yet: %w", s.Open, waits.failed(ctx, err))
		}
	}
	if s.Drift, err = h.drift(ctx, scan, true); err != nil || r.all {
		return s, err
	}
	s.Values, err = h.drift(ctx, scan, false)
	return s, err
}

func (h *home) drift(ctx context.Context, scan int64, only bool) ([]drifting, error) {
	rows, err := h.Query(ctx, reportSQL.RefreshDrift, scan, only, mostNamed)
	if err != nil {
		return nil, fmt.Errorf("read what the recount came to: %w", err)
	}
	drift, err := pgx.CollectRows(rows, pgx.RowToStructByPos[drifting])
	if err != nil {
		return nil, fmt.Errorf("read what the recount came to: %w", err)
	}
	return drift, nil
}

func (s recountState) text(check bool) string {
	var text strings.Builder
	done := "recounted"
	if check {
		done = "compared with the table, and left as they were,"
	}
	fmt.Fprintf(&text, "%s %s in %.1f s: %d rows, on %s, as of tick %d",
		plural(s.Done, "counter", "counters"), done, s.Took, s.Rows, cli.Name(s.Host), s.Tick)
	for _, v := range s.Values {
		fmt.Fprintf(&text, "\n  %s: %s bytes in %d", cli.Name(v.Scope), v.NewSize, v.NewItems)
	}
	if s.Differ > 0 {
		verb := "were corrected"
		if check {
			verb = "differ from the table"
		}
		fmt.Fprintf(&text, "\n%d %s", s.Differ, verb)
	}
	for _, d := range s.Drift {
		fmt.Fprintf(&text, "\n  %s: was %s in %d, is %s in %d", cli.Name(d.Scope), d.OldSize, d.OldItems, d.NewSize, d.NewItems)
	}
	if more := s.Differ - int64(len(s.Drift)); more > 0 {
		fmt.Fprintf(&text, "\n  and %d more; SELECT * FROM casq.refresh_status WHERE drift_size <> 0", more)
	}
	return text.String()
}

var (
	errRecount = errors.New("the recount did not succeed")
	errDiffer  = errors.New("counters differ from their table")
)

func (s recountState) err(check bool) error {
	switch {
	case s.Failed > 0:
		return fmt.Errorf("%w for %s: %s", errRecount, plural(s.Failed, "scope", "scopes"), s.Reason)
	case check && s.Differ > 0:
		return fmt.Errorf("%w: %d of %d; enqueue refresh without --check corrects them", errDiffer, s.Differ, s.Done)
	}
	return nil
}

func refreshCancelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a recount",
		Long: `Cancel ends a recount that is under way, in whatever state it is; the counter keeps
its value. The ids are those that enqueue refresh said, in casq.refreshes.`,
		Example: "  enqueue refresh cancel 42",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return cli.Usage(cmd, "%q is no id of a recount: want a number", args[0])
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				recounts, closeCounters, err := h.recounts()
				if err != nil {
					return err
				}
				defer closeCounters()
				if err := recounts.Cancel(ctx, id); err != nil {
					return err
				}
				return answer(cmd, map[string]int64{"cancelled": id}, fmt.Sprintf("cancelled recount %d", id))
			})
		},
	}
	addJSON(cmd)
	return cmd
}
