package servers

import (
	"testing"

	"casq/internal/testing/long"
)

// What is written while the copy is made is on the standby, whichever files it
// touched.
func TestStandbyIsMadeUnderLoad(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				// Files come and go, and pages change.
				for _, sql := range []string{
					"INSERT INTO t SELECT generate_series(1, 100)", "CREATE TABLE brief AS SELECT FROM t LIMIT 1000", "DROP TABLE brief",
					"UPDATE t SET i = i + 1 WHERE i % 97 = 0",
				} {
					if err := p.Exec(t.Context(), sql); err != nil {
						return err
					}
				}
			}
		}()
	}()
	for range 3 {
		s := startStandby(t, p, StandbyOptions{})
		must(t, s.WaitReplayed(limit(t), p))
	}
	s := startStandby(t, p, StandbyOptions{})
	close(stop)
	must(t, <-ended)
	must(t, s.WaitReplayed(limit(t), p))
	const sum = "SELECT count(*) || ' ' || sum(i) FROM t"
	if got, want := value[string](t, s.URL("postgres"), sum), value[string](t, p.URL("postgres"), sum); got != want {
		t.Errorf("the standby has %s, the primary %s", got, want)
	}
}
