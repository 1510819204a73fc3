package main

import (
	"context"
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

func resyncCommand() *cobra.Command {
	var r resync
	cmd := &cobra.Command{
		Use:   "resync --kind KIND (--key KEY | --all | --failed)",
		Short: "Ask for resources to be copied again",
		Long: `Resync gives resources a new version, also those that are in place already, and
queues a job for each: workers copy them, or remove them, again. Work that is under
way for an older version is superseded.

What --all and --failed ask for comes after everything that events ask for, and what
waits already, and nobody has begun on, is not queued twice. --key asks in any case,
and comes first.

A mirror of a repository is brought up to date by what differs: where the refs do not, no
object is looked at ("enqueue verify" looks at all of them). With --fresh it is
cloned anew and exchanged, for one that is damaged, or holds what it should not; copies
that are under way begin again.

With --wait it returns when each version that was asked for, or a newer one, is in
place or has failed, and exits with 1 when any has failed.`,
		Example: `  enqueue resync --kind artifact --key builds/42/out.zip --wait
  enqueue resync --kind repository --failed     # those that were given up, too
  enqueue resync --kind repository --key group/project.git --fresh
  enqueue resync --kind artifact --all --dry-run`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&r.kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringVar(&r.key, "key", "", "one resource")
	cmd.Flags().BoolVar(&r.all, "all", false, "all resources of the kind")
	cmd.Flags().BoolVar(&r.failed, "failed", false, "all resources whose newest version has failed")
	cmd.Flags().BoolVar(&r.fresh, "fresh", false, "use nothing of what is in place: repositories are cloned anew")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "say how many there are, and change nothing")
	r.consent.add(cmd)
	r.patience.add(cmd, "return when they are in place, or have failed")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if r.kind == "" {
			return cli.Usage(cmd, "--kind is required: the kind of the resources")
		}
		r.one = cmd.Flags().Changed("key")
		if count(r.one, r.all, r.failed) != 1 {
			return cli.Usage(cmd, "want one of --key, --all and --failed")
		}
		if r.dryRun && r.wait {
			return cli.Usage(cmd, "--dry-run asks for nothing: there is nothing to --wait for")
		}
		if err := r.patience.check(cmd); err != nil {
			return err
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			if err := h.checkKind(ctx, r.kind); err != nil {
				return err
			}
			return h.resync(ctx, cmd, r)
		})
	}
	return cmd
}

// resync is the command line of enqueue resync.
type resync struct {
	kind, key        string
	one, all, failed bool
	fresh, dryRun    bool
	consent
	patience
}

// resynced is the answer to it.
type resynced struct {
	Kind    string   `json:"kind"`
	Asked   int64    `json:"asked"`
	Version int64    `json:"version,omitempty"` // of one resource
	DryRun  bool     `json:"dry_run"`
	Waiting int64    `json:"waiting"`           // of these, that wait untouched since an earlier request
	Outcome *outcome `json:"outcome,omitempty"` // with --wait
}

func count(set ...bool) (n int) {
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
}

func (h *home) resync(ctx context.Context, cmd *cobra.Command, r resync) error {
	if r.dryRun {
		return h.resyncDry(ctx, cmd, r)
	}
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	asked := func([]registry.Job) error { return nil }
	var w *waiter
	if r.wait {
		if w, err = h.newWaiter(ctx); err != nil {
			return err
		}
		defer w.close()
		asked = func(page []registry.Job) error { return w.add(ctx, page) }
	}
	result := resynced{Kind: r.kind}
	var text string
	if r.one {
		text, err = h.resyncOne(ctx, queue, r, &result, asked)
	} else {
		text, err = h.resyncMany(ctx, cmd, queue, r, &result, asked)
	}
	if err == nil && w != nil {
		var o outcome
		o, err = w.wait(ctx, cmd, r.patience, h, "copy", r.kind)
		if err == nil {
			result.Outcome, err = &o, o.err()
			text += "\n" + o.text("done")
		}
	}
	if text == "" {
		return err
	}
	return errors.Join(answer(cmd, result, text), err)
}

// resyncDry says what would be asked for.
func (h *home) resyncDry(ctx context.Context, cmd *cobra.Command, r resync) error {
	result := resynced{Kind: r.kind, DryRun: true}
	var err error
	if r.one {
		if err = h.checkKey(ctx, r.kind, r.key); err != nil {
			return err
		}
		result.Asked = 1
	} else if result.Asked, err = registry.CountResync(ctx, h.Pool, r.kind, r.failed); err != nil {
		return err
	}
	return answer(cmd, result, fmt.Sprintf("would ask for %d of kind %s again", result.Asked, r.kind))
}

func (h *home) resyncOne(ctx context.Context, queue *jobs.Queue, r resync, result *resynced, asked func([]registry.Job) error) (text string, err error) {
	version, err := registry.ResyncOne(ctx, h.Pool, queue, r.kind, r.key, r.fresh)
	if errors.Is(err, registry.ErrNoRow) {
		return "", errors.Join(err, h.nearest(ctx, r.kind, r.key))
	}
	if err != nil {
		return "", err
	}
	result.Asked, result.Version = 1, version
	text = fmt.Sprintf("asked for %s %q again, as version %d", r.kind, r.key, version)
	return text, asked([]registry.Job{{Token: registry.Token{Kind: r.kind, ResourceID: r.key, Version: version}}})
}

func (h *home) resyncMany(ctx context.Context, cmd *cobra.Command, queue *jobs.Queue, r resync, result *resynced, asked func([]registry.Job) error) (text string, err error) {
	total, err := registry.CountResync(ctx, h.Pool, r.kind, r.failed)
	if err != nil {
		return "", err
	}
	if ctx, err = r.consent.get(ctx, cmd, total, "asks again for"); err != nil {
		return "", err
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "resync "+r.kind, total)
	done, err := registry.ResyncKind(ctx, h.Pool, queue, r.kind, registry.ResyncOptions{
		FailedOnly: r.failed, Fresh: r.fresh,
		Progress: func(asked int) { progress.Set(int64(asked)) },
		Asked:    asked,
	})
	progress.Close()
	result.Asked, result.Waiting = int64(done.Asked()), int64(done.Waiting)
	text = fmt.Sprintf("asked for %d of kind %s again", done.Raised, r.kind)
	if done.Waiting > 0 {
		text += fmt.Sprintf("; %d wait already, as nobody has begun on what was asked for before", done.Waiting)
	}
	return text, err
}

// checkKey returns an error that names keys near it, unless the registry has a
// row of that name.
func (h *home) checkKey(ctx context.Context, kind, key string) error {
	var there bool
	err := h.QueryRow(ctx, "SELECT EXISTS (SELECT FROM casq.registry WHERE kind = $1 AND resource_id = $2)", kind, key).Scan(&there)
	if err != nil {
		return fmt.Errorf("find %s %q: %w", kind, key, err)
	}
	if there {
		return nil
	}
	return errors.Join(fmt.Errorf("%w: %s %q", registry.ErrNoRow, kind, key), h.nearest(ctx, kind, key))
}

// nearest names keys that somebody may have meant.
func (h *home) nearest(ctx context.Context, kind, key string) error {
	rows, err := h.Query(ctx, statusSQL.Near, kind, key)
	if err != nil {
		return fmt.Errorf("find keys near it: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("find keys near it: %w", err)
	}
	if len(keys) == 0 {
		return fmt.Errorf("there is no %s at all", kind)
	}
	for i := range keys {
		keys[i] = strconv.Quote(keys[i])
	}
	return fmt.Errorf("near it in the order of keys: %s", strings.Join(keys, ", "))
}
