package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"casq/cmd/internal/cli"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
)

//go:embed near.sql
var nearSQL string

func resyncCommand() *cobra.Command {
	var kind, key string
	var all, failed bool
	cmd := &cobra.Command{
		Use:   "resync --kind KIND (--key KEY | --all | --failed)",
		Short: "Ask for things to be copied again",
		Long: `Resync gives things a new version, also those that are in place already, and
queues a job for each: workers copy them, or remove them, again. Work that is under
way for an older version is superseded.`,
		Example: `  enqueue resync --kind artifact --key builds/42/out.zip
  enqueue resync --kind repository --failed     # those that were given up, too
  enqueue resync --kind artifact --all`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of the things")
	cmd.Flags().StringVar(&key, "key", "", "one thing")
	cmd.Flags().BoolVar(&all, "all", false, "all things of the kind")
	cmd.Flags().BoolVar(&failed, "failed", false, "all things whose newest version has failed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if kind == "" {
			return cli.Usage(cmd, "--kind is required: the kind of the things")
		}
		one := cmd.Flags().Changed("key")
		if count(one, all, failed) != 1 {
			return cli.Usage(cmd, "want one of --key, --all and --failed")
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			if err := h.checkKind(ctx, kind); err != nil {
				return err
			}
			queue, err := jobs.NewQueue(h.Pool, h.log)
			if err != nil {
				return err
			}
			if one {
				return resyncOne(ctx, cmd, h, queue, kind, key)
			}
			return resyncMany(ctx, cmd, h, queue, kind, failed)
		})
	}
	return cmd
}

func count(set ...bool) (n int) {
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
}

func resyncOne(ctx context.Context, cmd *cobra.Command, h *home, queue *jobs.Queue, kind, key string) error {
	version, err := registry.ResyncOne(ctx, h.Pool, queue, kind, key)
	if errors.Is(err, registry.ErrNoRow) {
		return errors.Join(err, h.nearest(ctx, kind, key))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "asked for %s %q again, as version %d\n", kind, key, version)
	return nil
}

// nearest names keys that somebody may have meant.
func (h *home) nearest(ctx context.Context, kind, key string) error {
	rows, err := h.Query(ctx, nearSQL, kind, key)
	if err != nil {
		return fmt.Errorf("look for keys near it: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for keys near it: %w", err)
	}
	if len(keys) == 0 {
		return fmt.Errorf("there is no %s at all", kind)
	}
	for i := range keys {
		keys[i] = strconv.Quote(keys[i])
	}
	return fmt.Errorf("near it in the order of keys: %s", strings.Join(keys, ", "))
}

func resyncMany(ctx context.Context, cmd *cobra.Command, h *home, queue *jobs.Queue, kind string, failed bool) error {
	var total int64
	if !failed {
		if err := h.QueryRow(ctx, "SELECT count(*) FROM casq.registry WHERE kind = $1", kind).Scan(&total); err != nil {
			return fmt.Errorf("count the things: %w", err)
		}
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "resync "+kind, total)
	raised, err := registry.ResyncKind(ctx, h.Pool, queue, kind, registry.ResyncOptions{
		FailedOnly: failed,
		Progress:   func(raised int) { progress.Set(int64(raised)) },
	})
	progress.Close()
	fmt.Fprintf(cmd.OutOrStdout(), "asked for %d of kind %s again\n", raised, kind)
	return err
}
