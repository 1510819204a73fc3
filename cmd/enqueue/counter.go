package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/cmd/internal/cli"
	"casq/counter"
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
	cmd := &cobra.Command{
		Use:   "get --kind KIND --scope SCOPE",
		Short: "Read a counter as it is now",
		Long: `Get prints bytes and items of a scope: what was flushed and, where REDIS_URL says
where it is, what is pending.`,
		Example: `  enqueue counter get --kind artifact --scope 7
  enqueue counter get --kind artifact --scope 7 --json | jq -r .size`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if k.Kind == "" || k.ScopeID == "" {
				return cli.Usage(cmd, "--kind and --scope are required: which counter")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if err := h.checkKind(ctx, k.Kind); err != nil {
					return err
				}
				return h.counterGet(ctx, cmd, k)
			})
		},
	}
	cmd.Flags().StringVar(&k.Kind, "kind", "", "the kind of the things")
	cmd.Flags().StringVar(&k.ScopeID, "scope", "", "what they are counted under")
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
		return fmt.Errorf("%w: nothing was counted under %s %q", counter.ErrNoScope, k.Kind, k.ScopeID)
	}
	text := fmt.Sprintf("%s bytes in %s, as of tick %d", v.Size, plural(v.Items, "item", "items"), v.AsOf.Tick)
	if !v.Live {
		text += ", flushed " + time.Since(v.At).Round(time.Second).String() + " ago"
	}
	if !v.Exact {
		text += "\nnot exact: there were rows before the table was tracked, and no recount has ended yet (enqueue refresh)"
	}
	return answer(cmd, value{
		Kind: k.Kind, Scope: k.ScopeID, Size: v.Size.String(), Items: v.Items,
		Exact: v.Exact, Live: v.Live, Tick: v.AsOf.Tick, At: v.At,
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
