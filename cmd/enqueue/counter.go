package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/cmd/internal/cli"
	"casq/counter"
	"casq/counter/recount"
	"casq/internal/redisurl"
	"casq/jobs"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

// counters opens the counters of home, with Redis where there is one.
func (h *home) counters() (c *counter.Counters, closeCounters func(), err error) {
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return nil, nil, err
	}
	cfg := counter.Config{Home: h.Pool, Jobs: jobs.NewCounting(queue), Logger: h.log}
	closeCounters = func() {}
	if h.cfg.redisURL != "" {
		var client redis.UniversalClient
		if client, err = redisurl.Open(h.cfg.redisURL); err != nil {
			return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
		}
		cfg.Redis, closeCounters = client, func() { _ = client.Close() }
	}
	return counter.New(cfg), closeCounters, nil
}

// recounts opens the recounts of home's counters.
func (h *home) recounts() (r *recount.Recounts, closeCounters func(), err error) {
	counters, closeCounters, err := h.counters()
	if err != nil {
		return nil, nil, err
	}
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		closeCounters()
		return nil, nil, err
	}
	return recount.New(recount.Config{Home: h.Pool, Counters: counters, Jobs: jobs.NewCounting(queue), Logger: h.log}), closeCounters, nil
}

func counterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "counter",
		Short: "Read counters, and flush them",
		Long: `Counters are flushed to casq.statistics about once a second. With REDIS_URL, what is
not flushed yet is read as well.`,
		Example: `  enqueue counter get --kind artifact --scope 7
  enqueue counter flush`,
	}
	cmd.AddCommand(counterGetCommand(), counterFlushCommand())
	return cmd
}

// value is what enqueue counter get says with --json.
type value struct {
	Kind  string    `json:"kind"`
	Scope string    `json:"scope"`
	Size  string    `json:"size"` // bytes; a text, for it may be larger than 2^63
	Items int64     `json:"items"`
	Exact bool      `json:"exact"`
	Live  bool      `json:"live"`
	Tick  int64     `json:"as_of_tick"`
	At    time.Time `json:"flushed_at"`
}

func counterGetCommand() *cobra.Command {
	var k counter.Key
	var parent string
	cmd := &cobra.Command{
		Use:   "get --kind KIND (--scope SCOPE | --parent PARENT)",
		Short: "Read a counter as it is now, or the total of a parent's scopes",
		Long: `Get prints bytes and items of a scope: what was flushed and, where REDIS_URL says
where it is, what is pending. With --parent it is the total of all scopes that belong
to a parent, by the table that casq.group_scopes has named.`,
		Example: `  enqueue counter get --kind artifact --scope 7
  enqueue counter get --kind artifact --scope 7 --json | jq -r .size
  enqueue counter get --kind artifact --parent 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if k.Kind == "" {
				return cli.Usage(cmd, "--kind is required: the kind of the resources")
			}
			if cmd.Flags().Changed("scope") == cmd.Flags().Changed("parent") {
				return cli.Usage(cmd, "want one of --scope and --parent: which counter, or whose total")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if err := h.checkKind(ctx, k.Kind); err != nil {
					return err
				}
				if cmd.Flags().Changed("parent") {
					return h.counterTotal(ctx, cmd, k.Kind, parent)
				}
				return h.counterGet(ctx, cmd, k)
			})
		},
	}
	cmd.Flags().StringVar(&k.Kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringVar(&k.ScopeID, "scope", "", "what they are counted under; '' for the rows without a scope")
	cmd.Flags().StringVar(&parent, "parent", "", "what the scopes belong to")
	addJSON(cmd)
	return cmd
}

func (h *home) counterGet(ctx context.Context, cmd *cobra.Command, k counter.Key) error {
	counters, closeCounters, err := h.counters()
	if err != nil {
		return err
	}
	defer closeCounters()
	v, err := counters.Get(ctx, k)
	if err != nil {
		return err
	}
	if !v.Known {
		return fmt.Errorf("%w: nothing was counted under %s %q", recount.ErrNoScope, k.Kind, k.ScopeID)
	}
	text := fmt.Sprintf("%s bytes in %s, as of tick %d", v.Size, plural(v.Items, "item", "items"), v.AsOf.Tick) +
		remarks(v.Live, v.Exact, v.At)
	return answer(cmd, value{
		Kind: k.Kind, Scope: k.ScopeID, Size: v.Size.String(), Items: v.Items,
		Exact: v.Exact, Live: v.Live, Tick: v.AsOf.Tick, At: v.At,
	}, text)
}

// remarks say what a value lacks.
func remarks(live, exact bool, flushed time.Time) (text string) {
	if !live {
		text = ", flushed " + time.Since(flushed).Round(time.Second).String() + " ago"
	}
	if !exact {
		text += "\nnot exact: there were rows before the table was tracked, and no recount has ended yet (enqueue refresh)"
	}
	return text
}

// total is what enqueue counter get --parent says with --json.
type total struct {
	Kind   string    `json:"kind"`
	Parent string    `json:"parent"`
	Size   string    `json:"size"` // bytes; a text, for it may be larger than 2^63
	Items  int64     `json:"items"`
	Scopes int64     `json:"scopes"`
	Exact  bool      `json:"exact"`
	Live   bool      `json:"live"`
	Tick   int64     `json:"as_of_tick"` // of the scope that is furthest behind
	At     time.Time `json:"flushed_at"` // likewise
}

func (h *home) counterTotal(ctx context.Context, cmd *cobra.Command, kind, parent string) error {
	counters, closeCounters, err := h.counters()
	if err != nil {
		return err
	}
	defer closeCounters()
	t, err := counters.Total(ctx, kind, parent)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s bytes in %s of %s, as of tick %d", t.Size, plural(t.Items, "item", "items"),
		plural(t.Scopes, "scope", "scopes"), t.AsOf.Tick) + remarks(t.Live, t.Exact, t.At)
	return answer(cmd, total{
		Kind: kind, Parent: parent, Size: t.Size.String(), Items: t.Items, Scopes: t.Scopes,
		Exact: t.Exact, Live: t.Live, Tick: t.AsOf.Tick, At: t.At,
	}, text)
}

func counterFlushCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "flush",
		Short:   "Write what is pending to casq.statistics now",
		Example: "  enqueue counter flush",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if h.cfg.redisURL == "" {
					return errors.New("REDIS_URL is not set: where the workers' counters are pending")
				}
				counters, closeCounters, err := h.counters()
				if err != nil {
					return err
				}
				defer closeCounters()
				n, err := counters.Flush(ctx)
				if err != nil {
					return err
				}
				return answer(cmd, map[string]int{"flushed": n}, "flushed "+plural(int64(n), "counter", "counters"))
			})
		},
	}
	addJSON(cmd)
	return cmd
}
