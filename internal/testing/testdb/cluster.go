package testdb

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Cluster is a primary of one test's own, with its standbys.
type Cluster struct {
	Primary  *servers.Postgres
	Standbys []*servers.Postgres
	// Database is the name of the migrated database.
	Database string

	owner string
}

// ClusterOption changes what [NewCluster] starts.
type ClusterOption func(*clusterOptions)

type clusterOptions struct {
	standbys    int
	synchronous bool
	empty       bool
	postgres    servers.PostgresOptions
}

// Standbys starts n streaming standbys, named standby1 and so on.
func Standbys(n int) ClusterOption { return func(o *clusterOptions) { o.standbys = n } }

// Synchronous makes the primary wait for all standbys with each commit.
func Synchronous() ClusterOption { return func(o *clusterOptions) { o.synchronous = true } }

// Unmigrated leaves the database empty.
func Unmigrated() ClusterOption { return func(o *clusterOptions) { o.empty = true } }

// OwnIdentity gives the cluster another system identifier than all others have.
func OwnIdentity() ClusterOption { return func(o *clusterOptions) { o.postgres.OwnIdentity = true } }

// Clock makes the servers' clocks so far ahead.
func Clock(ahead time.Duration) ClusterOption {
	return func(o *clusterOptions) { o.postgres.Clock = ahead }
}

// TCP makes the servers listen on free ports of 127.0.0.1 too.
func TCP() ClusterOption { return func(o *clusterOptions) { o.postgres.TCP = true } }

// Settings adds to the configuration of all servers.
func Settings(settings map[string]string) ClusterOption {
	return func(o *clusterOptions) {
		if o.postgres.Settings == nil {
			o.postgres.Settings = map[string]string{}
		}
		maps.Copy(o.postgres.Settings, settings)
	}
}

// NewCluster starts a private primary with a migrated database, and standbys,
// for a test that kills, freezes, promotes or pauses them. A primary with one
// standby takes about a second.
func NewCluster(t testing.TB, options ...ClusterOption) *Cluster {
	t.Helper()
	var o clusterOptions
	for _, option := range options {
		option(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	c := &Cluster{Database: "casq_test", owner: "postgres"}
	around, err := around()
	if err != nil {
		t.Fatal(err)
	}
	primary, err := servers.StartPostgres(ctx, around.apply(o.postgres))
	if err != nil {
		t.Fatal(err)
	}
	c.Primary = primary
	stopAtEnd(t, primary, "primary")
	if err := c.create(ctx, around); err != nil {
		t.Fatalf("create the test's database: %v", err)
	}
	if !o.empty {
		if err := migrations.Up(ctx, c.URL(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatalf("migrate the test's database: %v", err)
		}
	}
	c.addStandbys(ctx, t, o)
	return c
}

func (c *Cluster) create(ctx context.Context, around surroundings) error {
	if err := c.Primary.Exec(ctx, "CREATE DATABASE "+c.Database); err != nil {
		return err
	}
	if around.ordinary {
		c.owner = "casq_test_owner"
		if _, err := c.Primary.RoleURL(ctx, c.owner, c.Database); err != nil {
			return err
		}
		if err := c.Primary.Exec(ctx, "ALTER DATABASE "+c.Database+" OWNER TO "+c.owner); err != nil {
			return err
		}
	}
	pool, err := pgxpool.New(ctx, c.Primary.URL("postgres"))
	if err != nil {
		return err
	}
	defer pool.Close()
	return around.set(ctx, pool, c.Database)
}

func (c *Cluster) addStandbys(ctx context.Context, t testing.TB, o clusterOptions) {
	t.Helper()
	names := make([]string, o.standbys)
	for i := range names {
		names[i] = fmt.Sprintf("standby%d", i+1)
		standby, err := c.Primary.Standby(ctx, servers.StandbyOptions{ApplicationName: names[i], TCP: o.postgres.TCP})
		if err != nil {
			t.Fatal(err)
		}
		stopAtEnd(t, standby, names[i])
		c.Standbys = append(c.Standbys, standby)
	}
	if !o.synchronous {
		return
	}
	if err := c.Primary.SetSynchronous(ctx, names...); err != nil {
		t.Fatal(err)
	}
}

// stopAtEnd stops a server when the test ends, and shows the end of its log
// when the test has failed.
func stopAtEnd(t testing.TB, p *servers.Postgres, name string) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s ends with:\n%s", name, p.LogTail())
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
	})
}

// URL reaches the database on the primary as its owner, see [DB].
func (c *Cluster) URL() string { return c.Primary.URLFor(c.owner, c.Database) }

// StandbyURL reaches the database on the standby with index i as its owner.
func (c *Cluster) StandbyURL(i int) string { return c.Standbys[i].URLFor(c.owner, c.Database) }
