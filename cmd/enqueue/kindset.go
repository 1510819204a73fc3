package main

import (
	"context"
	"fmt"
	"time"

	"casq/cmd/internal/cli"
	"casq/registry"

	"github.com/spf13/cobra"
)

func kindSetCommand() *cobra.Command {
	var missing string
	var quiet, probe time.Duration
	cmd := &cobra.Command{
		Use:   "set KIND [--missing failed | absent] [--quiet TIME] [--probe TIME]",
		Short: "Change how a kind is followed on this site",
		Long: `Set changes options of a kind that casq.track or casq.define_kind has given it.
Workers go by them at once; what is not named stays.

  --missing  what a resource is whose bytes the source does not have: failed, or
             absent, which is no failure: it is looked at again now and then, and
             with each of its events
  --quiet    what changes often is copied when it has not changed for so long; 0 is
             at once
  --probe    how often what is in place is compared with the source, for changes that
             no row tells; 0 is never`,
		Example: `  enqueue kind set wiki --missing absent
  enqueue kind set repository --quiet 2s --probe 1m`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			var o registry.KindOptions
			if cmd.Flags().Changed("missing") {
				o.Missing = &missing
			}
			if cmd.Flags().Changed("quiet") {
				o.Quiet = &quiet
			}
			if cmd.Flags().Changed("probe") {
				o.Probe = &probe
			}
			if o == (registry.KindOptions{}) {
				return cli.Usage(cmd, "want at least one of --missing, --quiet and --probe")
			}
			return withHome(cmd, func(ctx context.Context, h *home) error { return h.setKind(ctx, cmd, args[0], o) })
		},
	}
	cmd.Flags().StringVar(&missing, "missing", "", "failed or absent")
	cli.DurationVar(cmd, &quiet, "quiet", "time without a change, such as 2s; 0: none")
	cli.DurationVar(cmd, &probe, "probe", "time between two comparisons, such as 1m; 0: never")
	addJSON(cmd)
	return cmd
}

func (h *home) setKind(ctx context.Context, cmd *cobra.Command, kind string, o registry.KindOptions) error {
	if err := h.checkKind(ctx, kind); err != nil {
		return err
	}
	k, err := registry.SetKind(ctx, h.Pool, kind, o)
	if err != nil {
		return err
	}
	set := setKind{Kind: k.Name, Missing: k.Missing, Quiet: k.Quiet.Seconds(), Probe: k.Probe.Seconds()}
	return answer(cmd, set, fmt.Sprintf("kind %s: missing %s, quiet %s, probe %s", k.Name, k.Missing, pace(set.Quiet), pace(set.Probe)))
}

// setKind is the answer to enqueue kind set.
type setKind struct {
	Kind    string  `json:"kind"`
	Missing string  `json:"missing"`
	Quiet   float64 `json:"quiet_seconds"`
	Probe   float64 `json:"probe_seconds"`
}

// pace is a time in seconds as it is shown.
func pace(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return time.Duration(seconds * float64(time.Second)).String()
}
