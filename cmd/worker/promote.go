package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/promote"

	"github.com/spf13/cobra"
)

// exitLoss is the exit code where something would be lost.
const exitLoss = 4

func promoteCommand() *cobra.Command {
	var opts promote.Options
	var verify string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "promote [--dry-run | --accept-loss]",
		Short: "Make this second site the primary one",
		Long: `Promote is run at the second site, with the environment of its workers, when the
application's database was promoted and nobody writes to it yet; SOURCE_DATABASE_URL is that
one. It applies the log to its end, copies what is to be copied, and says by name what is
missing. Then it reads what is in place, as far as --verify says, gives the targets up, so
that no worker changes anything there any more, and makes mirrors working repositories.

With --dry-run it says how the site stands, and changes nothing. Killed in the middle, it
goes on when it is run again. docs/promotion.md has the whole way, and the way back.

The exit code is 0 when the site is promoted (with --dry-run: when nothing would be lost), and 4
when something would be lost; then nothing was changed, unless --accept-loss is given.`,
		Example: `  worker promote --dry-run --verify all
  worker promote
  worker promote --accept-loss --verify none --wait 1m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Verify = promote.Verification(verify)
			switch {
			case opts.Verify != promote.VerifyNone && opts.Verify != promote.VerifyChanged && opts.Verify != promote.VerifyAll:
				return cli.Usage(cmd, "--verify is %q: it may be none, changed or all", verify)
			case opts.DryRun && opts.AcceptLoss:
				return cli.Usage(cmd, "--dry-run changes nothing: there is no loss to accept")
			}
			cfg, err := readConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			cfg.Logger, cfg.Version = cfg.log.Logger(cmd.ErrOrStderr()), cli.Version(version)
			result, err := promote.Run(cmd.Context(), cfg.Config, opts)
			if err != nil && !errors.Is(err, promote.ErrLoss) {
				return err
			}
			if printErr := printPromotion(cli.Out(cmd), cfg, opts, result, asJSON); printErr != nil {
				return printErr
			}
			if err != nil {
				return cli.WithCode(fmt.Errorf("%w: see above; --accept-loss goes on without it", err), exitLoss)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "say how the site stands, and change nothing")
	cmd.Flags().BoolVar(&opts.AcceptLoss, "accept-loss", false, "go on where something is lost, as --dry-run has said")
	cmd.Flags().StringVar(&verify, "verify", string(promote.VerifyChanged), "what of that which is in place is read: none, changed (within --since) or all")
	opts.Since, opts.Wait = 24*time.Hour, 10*time.Minute
	cli.DurationVar(cmd, &opts.Since, "since", "how long ago what is verified as changed was asked for, at most")
	cli.DurationVar(cmd, &opts.Wait, "wait", "how long to apply the log, and to copy, at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that was found in JSON")
	return cmd
}

func printPromotion(out io.Writer, cfg config, opts promote.Options, result promote.Result, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	printReport(out, result.Report)
	if !result.Promoted {
		if opts.DryRun && result.Report.Ready() {
			fmt.Fprintln(out, "nothing would be lost: worker promote")
		}
		return nil
	}
	if opts.DryRun {
		fmt.Fprintln(out, "this site was promoted before, and this was found then; worker promote does what may be left to do")
		return nil
	}
	fmt.Fprintf(out, "promoted: %d repositories are working ones\n", result.Repositories)
	for _, u := range result.Unreleased {
		fmt.Fprintf(out, "  not one: %s\n", cli.Line(u))
	}
	printNext(out, cfg, result)
	return nil
}

// mostShown is how many resources of a cause are named.
const mostShown = 20

func printReport(out io.Writer, r promote.Report) {
	if r.Standby {
		fmt.Fprintln(out, "the source is a standby: what its primary writes after this is not counted")
	}
	if r.OtherLog {
		fmt.Fprintln(out, "the source's log does not have what this site has read last: everything is to be compared with it first (leave a worker running)")
	}
	fmt.Fprintf(out, "%d events not applied\n", r.Events)
	for _, v := range r.Views {
		fmt.Fprintf(out, "the view of kind %s at the source %s: what is not in the log yet would be lost (a worker at the source's database evaluates it)\n", cli.Name(v.Kind), cli.Line(v.Why))
	}
	if r.Comparisons > 0 {
		fmt.Fprintf(out, "%d comparisons with the source are not over\n", r.Comparisons)
	}
	for _, kind := range r.Partial {
		fmt.Fprintf(out, "kind %s: this site has selected a part of it\n", cli.Name(kind))
	}
	for _, k := range r.Kinds {
		fmt.Fprintf(out, "kind %s: %d in place, %d would be lost\n", cli.Name(k.Kind), k.InPlace, len(k.Lost()))
		for _, f := range k.Found {
			fmt.Fprintf(out, "  %d %s\n", f.Count, f.Cause)
			for _, key := range f.Keys[:min(len(f.Keys), mostShown)] {
				fmt.Fprintf(out, "    %s\n", cli.Name(key))
			}
			if more := f.Count - int64(min(len(f.Keys), mostShown)); more > 0 {
				fmt.Fprintf(out, "    and %d more (--json)\n", more)
			}
		}
	}
	if r.Verified > 0 {
		fmt.Fprintf(out, "%d resources were read, and are what was copied\n", r.Verified)
	}
}
