package servers

import (
	"errors"
	"testing"
	"time"
)

func TestServersHaveAClockOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{90 * time.Second, -90 * time.Second} {
		p, err := StartPostgres(limit(t), PostgresOptions{Clock: ahead})
		if errors.Is(err, ErrNotInstalled) {
			t.Skip(err)
		}
		must(t, err)
		stopAtEnd(t, p)
		s := startStandby(t, p, StandbyOptions{})
		for _, server := range []*Postgres{p, s} {
			got := time.Until(value[time.Time](t, server.URL("postgres"), "SELECT clock_timestamp()"))
			if off := got - ahead; off < -30*time.Second || off > 30*time.Second {
				t.Errorf("the server's clock is %v ahead of ours, want %v", got, ahead)
			}
		}
	}
}
