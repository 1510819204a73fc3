package servers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
)

func TestServersHaveAClockOfTheirOwn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, ahead := range []time.Duration{90 * time.Second, -90 * time.Second} {
		p, err := StartPostgres(limit(t), PostgresOptions{Clock: ahead})
		if errors.Is(err, ErrNotInstalled) {
			t.Skip(err)
		}
		must(t, err)
		stopAtEnd(t, p)
		// Time-outs come when they should, also those that end a wait.
		err = p.Exec(limit(t), "SET statement_timeout = '100ms'; SELECT pg_sleep(60)")
		if err == nil || !strings.Contains(err.Error(), "statement timeout") {
			t.Errorf("a statement's time-out: %v", err)
		}
		same, other := startStandby(t, p, StandbyOptions{}), startStandby(t, p, StandbyOptions{ClockAhead: ahead})
		for server, want := range map[*Postgres]time.Duration{p: ahead, same: ahead, other: 2 * ahead} {
			got := time.Until(value[time.Time](t, server.URL("postgres"), "SELECT clock_timestamp()"))
			if off := got - want; off < -30*time.Second || off > 30*time.Second {
				t.Errorf("the server's clock is %v ahead of ours, want %v", got, want)
			}
		}
	}
}
