package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/cmd/internal/cli"
	"casq/jobs"
	"casq/registry"

	"github.com/spf13/cobra"
)

func cancelCommand() *cobra.Command {
	var kind, key string
	var dryRun bool
	var p patience
	cmd := &cobra.Command{
		Use:   "cancel --kind KIND --key KEY",
		Short: "Stop the copy of a resource, and what waits for it",
		Long: `Cancel gives up the version of a resource that is asked for: its jobs are ended, a
running copy is told to stop, and the resource's status is failed, "cancelled by an
operator". What is in place stays there. enqueue resync starts it again, and so
does the resource's next event.

The process that runs the copy hears of it at once as a rule. A copy that is
being put in place at that moment, or whose process does not hear of it, still
is, and then the status says so.`,
		Example: `  enqueue cancel --kind repository --key group/huge
  enqueue cancel --kind repository --key group/huge --wait     # until it has stopped`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind == "" || key == "" {
				return cli.Usage(cmd, "--kind and --key are required: the resource")
			}
			if err := p.check(cmd); err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if err := h.checkKind(ctx, kind); err != nil {
					return err
				}
				return h.cancel(ctx, cmd, kind, key, dryRun, p)
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "the kind of the resource")
	cmd.Flags().StringVar(&key, "key", "", "the resource")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what is under way, and change nothing")
	p.add(cmd, "return when the running copy has stopped")
	addJSON(cmd)
	return cmd
}

// cancelled is the answer of enqueue cancel.
type cancelled struct {
	Kind       string `json:"kind"`
	ResourceID string `json:"resource_id"`
	DryRun     bool   `json:"dry_run"`
	registry.Cancelled
	Status string `json:"status"` // afterwards
}

func (h *home) cancel(ctx context.Context, cmd *cobra.Command, kind, key string, dryRun bool, p patience) error {
	queue, err := jobs.NewQueue(h.Pool, h.log)
	if err != nil {
		return err
	}
	c := cancelled{Kind: kind, ResourceID: key, DryRun: dryRun}
	c.Cancelled, err = registry.Cancel(ctx, h.Pool, queue, kind, key, registry.CancelOptions{DryRun: dryRun})
	if errors.Is(err, registry.ErrNoRow) {
		return errors.Join(err, h.nearest(ctx, kind, key))
	}
	if err != nil {
		return err
	}
	if p.wait && c.Running && !dryRun {
		c.Status, err = h.awaitStop(ctx, cmd, p, kind, key)
	} else {
		c.Status, _, err = h.readStatus(ctx, kind, key)
	}
	if err != nil {
		return err
	}
	return answer(cmd, c, c.text())
}

// readStatus returns a resource's status, and whether a run has it.
func (h *home) readStatus(ctx context.Context, kind, key string) (status string, running bool, err error) {
	err = h.QueryRow(ctx, `SELECT status, claim_process IS NOT NULL FROM casq.registry_status
		WHERE kind = $1 AND resource_id = $2`, kind, key).Scan(&status, &running)
	if err != nil {
		return "", false, fmt.Errorf("read the status: %w", err)
	}
	return status, running, nil
}

// awaitStop returns a resource's status once no run has it. Which worker's run it
// is waits for no queue.
func (h *home) awaitStop(ctx context.Context, cmd *cobra.Command, p patience, kind, key string) (string, error) {
	progress := cli.NewProgress(cmd.ErrOrStderr(), "cancel "+kind, 0)
	defer progress.Close()
	ctx, waits := p.start(ctx, h, progress)
	defer waits.stop()
	for {
		began := time.Now()
		status, running, err := h.readStatus(ctx, kind, key)
		if err == nil && !running {
			return status, nil
		}
		if err == nil {
			err = waits.pause(ctx, time.Since(began))
		}
		if err != nil {
			return "", fmt.Errorf("wait until the copy has stopped: %w", waits.failed(ctx, err))
		}
	}
}

func (c cancelled) text() string {
	resource := fmt.Sprintf("%s %q, version %d", c.Kind, c.ResourceID, c.Version)
	if c.InPlace {
		return fmt.Sprintf("nothing to cancel: %s is %s", resource, c.Status)
	}
	verb := "cancelled"
	if c.DryRun {
		verb = "would cancel"
	}
	text := fmt.Sprintf("%s %s: %s", verb, resource, plural(int64(c.Jobs), "job", "jobs"))
	if !c.Running {
		return text + ", no run had it; now " + c.Status
	}
	return fmt.Sprintf("%s; process %d on %s has it and is told; now %s", text, c.PID, cli.Name(c.Host), c.Status)
}
