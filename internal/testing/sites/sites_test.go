package sites_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
	"casq/internal/testing/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// A site has its schema on the standby too, its owner is an ordinary role, and what
// it has in a folder of its own is there again when it is started once more.
func TestSiteIsStartedAgain(t *testing.T) {
	long.Test(t)
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(path, 0o755); err != nil { // the servers' user passes through
			t.Fatal(err)
		}
	}
	options := sites.Options{
		Postgres: servers.PostgresOptions{Dir: filepath.Join(dir, "primary"), TCP: true}, Redis: &servers.RedisOptions{},
		Standbys: []servers.StandbyOptions{{Dir: filepath.Join(dir, "standby"), TCP: true}},
		Database: "own", Role: "own", Pool: &database.Options{},
	}
	for n := range 2 {
		s := start(t, options)
		if _, err := s.DB.Exec(t.Context(), "SELECT casq.define_kind('resource', 'none'), casq.append_event('resource', 'x', 'created')"); err != nil {
			t.Fatal(err)
		}
		if err := s.CaughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		var super bool
		var events int
		standby := testdb.Pool(t, s.Standbys[0].URLFor("own", "own"))
		err := standby.QueryRow(t.Context(), "SELECT current_setting('is_superuser')::bool, count(*) FROM casq.events").Scan(&super, &events)
		if err != nil || super || events != n+1 {
			t.Errorf("superuser %v, %d events, %v; want an ordinary role and %d", super, events, err, n+1)
		}
		standby.Close()
		if err := errors.Join(s.Stop(), s.Stop()); err != nil {
			t.Fatal(err)
		}
	}
}

func start(t *testing.T, options sites.Options) *sites.Site {
	t.Helper()
	s, err := sites.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A standby that cannot be started takes the rest along.
func TestFailedStartLeavesNoServer(t *testing.T) {
	long.Test(t)
	other := start(t, sites.Options{Unmigrated: true})
	before := folders(t, other)
	failed, err := sites.Start(t.Context(), sites.Options{
		Redis: &servers.RedisOptions{}, Standbys: []servers.StandbyOptions{{Settings: map[string]string{"max_connections": "none"}}},
	})
	if failed != nil || err == nil {
		t.Errorf("got %v, %v", failed, err)
	}
	if after := folders(t, other); after != before {
		t.Errorf("%d servers' folders before, %d after", before, after)
	}
}

// folders is how many servers of this process there are.
func folders(t *testing.T, s *sites.Site) (n int) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(s.Primary.Dir()))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			n++
		}
	}
	return n
}
