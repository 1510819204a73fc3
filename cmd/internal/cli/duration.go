package cli

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const day = 24 * time.Hour

var errDuration = errors.New("no duration")

// parseDuration reads Go's durations, and days of 24 hours in front of them: 30d,
// 1d12h.
func parseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 31)
	if err != nil || time.Duration(n) > math.MaxInt64/day {
		return 0, errDuration
	}
	sum := time.Duration(n) * day
	if rest == "" {
		return sum, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.HasPrefix(rest, "+") || sum+d < sum {
		return 0, errDuration
	}
	return sum + d, nil
}

// durationText is how a duration is written by those who read it: 30d, 1h, 1m30s.
func durationText(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if short, whole := strings.CutSuffix(text, "m0s"); whole {
		text = short + "m"
	}
	if short, whole := strings.CutSuffix(text, "h0m"); whole {
		text = short + "h"
	}
	return text
}

// DurationVar adds a flag for a duration that may be given in days.
func DurationVar(cmd *cobra.Command, d *time.Duration, name, usage string) {
	cmd.Flags().Var((*durationValue)(d), name, usage)
}

// durationValue implements [pflag.Value].
type durationValue time.Duration

// String implements [pflag.Value]. What is not set is not shown.
func (d *durationValue) String() string {
	if *d == 0 {
		return ""
	}
	return durationText(time.Duration(*d))
}

// Set implements [pflag.Value].
func (d *durationValue) Set(text string) error {
	parsed, err := parseDuration(text)
	*d = durationValue(parsed)
	return err
}

// Type implements [pflag.Value].
func (*durationValue) Type() string { return "duration" }
