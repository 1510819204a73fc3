package main

import (
	"context"
	"fmt"
	"time"

	"casq/cmd/internal/cli"

	"github.com/spf13/cobra"
)

func whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why (KIND KEY | build ID)",
		Short: "Tell what a resource or a build waits for",
		Long: `Why tells, in words, what is wanted of a resource, which event asked for it, which
job and process has it, and what it waits for. It is SELECT casq.why(KIND, KEY).
Of a build it tells what it waits for, or what became of it: SELECT casq.why_build(ID).`,
		Example: `  enqueue why artifact builds/42/out.zip
  enqueue why build 12`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "build" {
				return whyBuild(cmd, args[1])
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if err := h.checkKind(ctx, args[0]); err != nil {
					return err
				}
				return h.why(ctx, cmd, args[0], args[1])
			})
		},
	}
	addJSON(cmd)
	return cmd
}

// reason is the answer to enqueue why: the row's state, and all of it in words.
type reason struct {
	Kind          string     `json:"kind"`
	ResourceID    string     `json:"resource_id"`
	Why           string     `json:"why"`
	Status        *string    `json:"status"` // nil: there is no row
	Version       *int64     `json:"version"`
	SyncedVersion *int64     `json:"synced_version"`
	Attempts      *int       `json:"attempts"`
	LastError     *string    `json:"last_error"`
	RetryAt       *time.Time `json:"retry_at"`
	DeletedAt     *time.Time `json:"deleted_at"`
}

func (h *home) why(ctx context.Context, cmd *cobra.Command, kind, key string) error {
	r := reason{Kind: kind, ResourceID: key}
	err := h.QueryRow(ctx, statusSQL.Why, kind, key).Scan(&r.Why, &r.Status, &r.Version, &r.SyncedVersion, &r.Attempts,
		&r.LastError, &r.RetryAt, &r.DeletedAt)
	if err != nil {
		return fmt.Errorf("ask why: %w", err)
	}
	return answer(cmd, r, cli.Line(r.Why))
}

func whyBuild(cmd *cobra.Command, text string) error {
	id, err := number(cmd, "a build", text)
	if err != nil {
		return err
	}
	return withHome(cmd, func(ctx context.Context, h *home) error {
		var why string
		if err := h.QueryRow(ctx, "SELECT casq.why_build($1)", id).Scan(&why); err != nil {
			return fmt.Errorf("ask why: %w", err)
		}
		return answer(cmd, map[string]any{"build": id, "why": why}, cli.Line(why))
	})
}
