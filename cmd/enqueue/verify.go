package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	"casq/jobs"
	"casq/registry"

	"github.com/spf13/cobra"
)

func verifyCommand() *cobra.Command {
	var v verify
	cmd := &cobra.Command{
		Use:   "verify --kind KIND (--key KEY | --all)",
		Short: "Compare what is in place with what it should be",
		Long: `Verify queues a job for each resource that is in place: workers read it, compare it by
content, and have it copied again, as a new version, when it differs. Resources that
are not in place are left to their copy.

With --wait it returns when all have been compared, and exits with 1 when some could
not be.`,
		Example: `  enqueue verify --kind artifact --key builds/42/out.zip --wait
  enqueue verify --kind repository --all --older-than 30d
  enqueue verify --kind artifact --all --dry-run`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&v.kind, "kind", "", "the kind of the resources")
	cmd.Flags().StringVar(&v.key, "key", "", "one resource")
	cmd.Flags().BoolVar(&v.all, "all", false, "all resources of the kind that are in place")
	cli.DurationVar(cmd, &v.olderThan, "older-than", "leave out what was copied or compared within this time")
	cmd.Flags().BoolVar(&v.dryRun, "dry-run", false, "say how many there are, and change nothing")
	v.consent.add(cmd)
	v.patience.add(cmd, "return when they have been compared")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v.one = cmd.Flags().Changed("key")
		switch {
		case v.kind == "":
			return cli.Usage(cmd, "--kind is required: the kind of the resources")
		case v.one == v.all:
			return cli.Usage(cmd, "want one of --key and --all")
		case v.olderThan < 0 || v.one && v.olderThan != 0:
			return cli.Usage(cmd, "--older-than is for --all, and is a time such as 30d")
		case v.dryRun && v.wait:
			return cli.Usage(cmd, "--dry-run asks for nothing: there is nothing to --wait for")
		}
		if err := v.patience.check(cmd); err != nil {
			return err
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			if err := h.checkKind(ctx, v.kind); err != nil {
				return err
			}
			return h.verify(ctx, cmd, v)
		})
	}
	return cmd
}

// verify is the command line of enqueue verify.
type verify struct {
	kind, key string
	one, all  bool
	olderThan time.Duration
	dryRun    bool
	consent
	patience
}

// verified is the answer to it.
type verified struct {
	Kind    string        `json:"kind"`
	Asked   int64         `json:"asked"`
	DryRun  bool          `json:"dry_run"`
	Outcome *verification `json:"outcome,omitempty"` // with --wait
}

// verification is what became of it.
type verification struct {
	Open   int64        `json:"-"`
	Same   int64        `json:"same"`
	Again  int64        `json:"asked_for_again"` // found different, or changed meanwhile
	Failed int64        `json:"failed"`
	Named  []failedItem `json:"failed_resources"` // the first of those that could not be compared
}

func (h *home) verify(ctx context.Context, cmd *cobra.Command, v verify) error {
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	before, err := h.newestJob(ctx)
	if err != nil {
		return err
	}
	result := verified{Kind: v.kind, DryRun: v.dryRun}
	if result.Asked, err = h.askToVerify(ctx, cmd, queue, v); err != nil {
		return err
	}
	verb := "asked to verify"
	if v.dryRun {
		verb = "would ask to verify"
	}
	text := fmt.Sprintf("%s %d of kind %s", verb, result.Asked, v.kind)
	if v.wait {
		o, waitErr := h.awaitVerified(ctx, cmd, v.patience, v.kind, before, result.Asked)
		if waitErr != nil {
			return errors.Join(answer(cmd, result, text), waitErr)
		}
		result.Outcome, err = &o, o.err()
		text += "\n" + o.text()
	}
	return errors.Join(answer(cmd, result, text), err)
}

func (h *home) askToVerify(ctx context.Context, cmd *cobra.Command, queue *jobs.Queue, v verify) (asked int64, err error) {
	if v.one && v.dryRun {
		return 1, h.checkKey(ctx, v.kind, v.key)
	}
	if v.one {
		_, err := registry.VerifyOne(ctx, h.Pool, queue, v.kind, v.key)
		switch {
		case errors.Is(err, registry.ErrNoRow):
			return 0, errors.Join(err, h.nearest(ctx, v.kind, v.key))
		case errors.Is(err, registry.ErrNotInPlace):
			return 0, fmt.Errorf("%w: it is still to be copied (enqueue why %s %q)", err, v.kind, v.key)
		}
		return 1, err
	}
	most, err := h.resourcesOf(ctx, v.kind)
	if err != nil {
		return 0, err
	}
	if !v.dryRun {
		if ctx, err = v.consent.get(ctx, cmd, most, "reads and compares up to"); err != nil {
			return 0, err
		}
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "ask to verify "+v.kind, most)
	defer progress.Close()
	n, err := registry.VerifyKind(ctx, h.Pool, queue, v.kind, registry.VerifyOptions{
		OlderThan: v.olderThan, DryRun: v.dryRun, Progress: func(asked int) { progress.Set(int64(asked)) },
	})
	return int64(n), err
}

// newestJob is an id that all jobs which are queued from now on are above.
func (h *home) newestJob(ctx context.Context) (id int64, err error) {
	err = h.QueryRow(ctx, "SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM river.river_job_id_seq").Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ask for the newest job: %w", err)
	}
	return id, nil
}

// awaitVerified returns when the verifications after a job have ended.
func (h *home) awaitVerified(ctx context.Context, cmd *cobra.Command, p patience, kind string, after, asked int64) (v verification, err error) {
	newest, err := h.newestJob(ctx)
	if err != nil {
		return v, err
	}
	kinds, err := eventlog.Kinds(ctx, h)
	if err != nil {
		return v, err
	}
	progress := cli.NewProgress(cmd.ErrOrStderr(), "verify "+kind, asked)
	defer progress.Close()
	ctx, waits := p.start(ctx, h, progress, jobs.VerifyQueue(kinds[kind].Transfer))
	defer waits.stop()
	for {
		began := time.Now()
		err := h.QueryRow(ctx, reportSQL.Verified, kind, after, newest, mostNamed).Scan(&v.Open, &v.Same, &v.Again, &v.Failed, &v.Named)
		if err != nil {
			return v, fmt.Errorf("read what became of the verifications: %w", waits.failed(ctx, err))
		}
		progress.Set(v.Same + v.Again + v.Failed)
		if v.Open == 0 {
			return v, nil
		}
		if err := waits.pause(ctx, time.Since(began)); err != nil {
			return v, fmt.Errorf("wait, with %d not compared yet: %w", v.Open, waits.failed(ctx, err))
		}
	}
}

func (v verification) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d as they should be, %d asked for again (different, or changed meanwhile), %d could not be compared", v.Same, v.Again, v.Failed)
	for _, f := range v.Named {
		fmt.Fprintf(&text, "\n  %s: %s", cli.Name(f.ResourceID), cli.Line(f.Error))
	}
	if more := v.Failed - int64(len(v.Named)); more > 0 {
		fmt.Fprintf(&text, "\n  and %d more", more)
	}
	return text.String()
}

// err is not nil when some could not be compared.
func (v verification) err() error {
	if v.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d could not be compared", errFailed, v.Failed)
}
