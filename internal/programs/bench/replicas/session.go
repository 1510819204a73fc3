// Package replicas measures reads from standbys: what they cost beside bare ones, what they
// spare the primary, and whether any of them is stale.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/redisurl"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// site is a durable primary with two standbys, a Redis, and documents. Its
// pools are those of any application.
type site struct {
	*sites.Site
	bare  []*pgxpool.Pool // one for each standby
	redis redis.UniversalClient
}

const documents = 1000

// newSite starts one, whose Postgres servers listen on TCP or on sockets.
func newSite(ctx context.Context, tcp bool) (*site, error) {
	started, err := sites.Start(ctx, sites.Options{
		Postgres: servers.PostgresOptions{Durable: true, TCP: tcp}, Standbys: []servers.StandbyOptions{{TCP: tcp}, {TCP: tcp}},
		Redis: &servers.RedisOptions{}, Unmigrated: true,
	})
	if err != nil {
		return nil, err
	}
	s := &site{Site: started}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) prepare(ctx context.Context) (err error) {
	for _, standby := range s.Standbys {
		pool, err := pgxpool.New(ctx, standby.URL("postgres"))
		if err != nil {
			return err
		}
		s.bare = append(s.bare, pool)
	}
	if s.redis, err = redisurl.Open(s.Redis.URL()); err != nil {
		return err
	}
	if s.DB, err = pgxpool.New(ctx, s.URL); err != nil {
		return err
	}
	if err := replica.Setup(ctx, s.DB, ""); err != nil {
		return err
	}
	_, err = s.DB.Exec(ctx, `CREATE TABLE documents (id text PRIMARY KEY, version bigint NOT NULL);
		INSERT INTO documents SELECT n::text, 0 FROM generate_series(0, 999) AS n`)
	return errors.Join(err, s.CaughtUp(ctx))
}

func (s *site) close() (err error) {
	for _, pool := range s.bare {
		pool.Close()
	}
	if s.redis != nil {
		err = s.redis.Close()
	}
	return errors.Join(err, s.Stop())
}

// open returns a DB on the first n standbys.
func (s *site) open(ctx context.Context, n int) (*replica.DB, error) {
	var urls []string
	for _, standby := range s.Standbys[:n] {
		urls = append(urls, standby.URL("postgres"))
	}
	return replica.New(ctx, s.DB, replica.Options{Standbys: replica.URLs(urls...), Logger: slog.New(slog.DiscardHandler)})
}

// openShared returns a DB, with or without the store, that reads by the first bare pool: the
// same connection as the reference, and so the same backend, wherever that runs.
func (s *site) openShared(ctx context.Context, stored bool) (*replica.DB, error) {
	options := replica.Options{
		Standbys: replica.URLs(s.Standbys[0].URL("postgres")), Logger: slog.New(slog.DiscardHandler),
		Connect: func(context.Context, string) (*pgxpool.Pool, error) { return s.bare[0], nil },
	}
	if stored {
		options.Store = redisstore.New(s.redis, redisstore.Options{Timeout: time.Second})
	}
	return replica.New(ctx, s.DB, options)
}

func object(i int) replica.Object {
	return replica.Object{Namespace: "document", ID: fmt.Sprint(i)}
}

const readVersion = "SELECT version FROM documents WHERE id = $1"

const sessionReads = 4000 // by each, in all rounds

// Session measures milliseconds of a read that watches one object, and ten, against the same
// query on a bare pool of the same standby and one bare GET; and of one that carries a
// token, without a store, against the query alone.
func Session(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	stored, err := s.openShared(ctx, true)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	plain, err := s.openShared(ctx, false)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	writer := plain.Session()
	if err := writer.Wrote(ctx); err != nil {
		return nil, err
	}
	token := writer.Token(ctx)
	if err := errors.Join(s.redis.Set(ctx, "bare", "0", 0).Err(), s.warm(ctx, stored)); err != nil {
		return nil, err
	}
	query := func(ctx context.Context, i int) error {
		var version int64
		return s.bare[0].QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
	}
	withGet := func(ctx context.Context, i int) error {
		return errors.Join(s.redis.Get(ctx, "bare").Err(), query(ctx, i))
	}
	var objects []replica.Object
	for i := range documents + 9 {
		objects = append(objects, object(i%documents))
	}
	watching := func(n int) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			var version int64
			session := stored.Session(objects[i : i+n]...)
			return session.Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
		}
	}
	carrying := func(ctx context.Context, i int) error {
		var version int64
		session := plain.Session()
		session.Carry(token)
		return session.Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
	}
	var results []measure.Result
	for _, b := range []struct {
		name            string
		ours, reference func(context.Context, int) error
		note            string
	}{
		{"session/one", watching(1), withGet, "a read that watches one object; reference: the query on the standby, and one bare GET"},
		{"session/ten", watching(10), withGet, "ten objects; the same reference"},
		{"session/ten-one", watching(10), watching(1), "ten objects; reference: one"},
		{"session/token", carrying, query, "a read that carries a token, no store; reference: the query on the standby"},
	} {
		lines, err := byTurns(ctx, m, b.name, b.ours, b.reference, b.note)
		if err != nil {
			return nil, err
		}
		results = append(results, lines...)
	}
	// What the primary had to serve is no measure of a read from a standby.
	for db, reads := range map[*replica.DB]int64{stored: 4 * sessionReads, plain: sessionReads} {
		if counts := db.Counts().Choices; counts[replica.CaughtUp] < reads*9/10 {
			return nil, fmt.Errorf("%d reads were to be from the standby, and were: %v", reads, counts)
		}
	}
	return results, nil
}

// warm readies the floors of all objects, and waits until standbys are beyond them.
func (s *site) warm(ctx context.Context, db *replica.DB) error {
	for i := range documents {
		session := db.Session(object(i))
		var version int64
		if err := session.Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version); err != nil {
			return err
		}
	}
	return s.CaughtUp(ctx)
}

// byTurns calls ours and the reference in turns, and returns their medians and
// 99th percentiles.
func byTurns(ctx context.Context, m *measure.Bench, name string, ours, reference func(context.Context, int) error, note string) ([]measure.Result, error) {
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for i := range 2 * sessionReads / measure.Rounds {
			side, call := "ours", ours
			if i%2 == 1 {
				side, call = "reference", reference
			}
			document := rand.N(documents)
			start := time.Now()
			if err := call(ctx, document); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			f.Add(side, measure.Milliseconds(start))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	note = fmt.Sprintf("%s; %d each, by turns", note, sessionReads)
	return []measure.Result{
		figures.Compare(name, "ours", "reference", "ms", note+"; median"),
		figures.CompareAt(99, name+"-p99", "ours", "reference", "ms", note+"; 99th percentile"),
	}, nil
}

// Commits measures milliseconds of a commit that learns its position, against a bare COMMIT.
func Commits(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	db, err := s.open(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	commit := func(began func(context.Context) (pgx.Tx, error)) func(context.Context, int) (time.Duration, error) {
		return func(ctx context.Context, i int) (time.Duration, error) {
			tx, err := began(ctx)
			if err != nil {
				return 0, err
			}
			if _, err := tx.Exec(ctx, "UPDATE documents SET version = version + 1 WHERE id = $1", fmt.Sprint(i)); err != nil {
				return 0, err
			}
			start := time.Now()
			err = tx.Commit(ctx)
			return time.Since(start), err
		}
	}
	calls := []func(context.Context, int) (time.Duration, error){
		commit(func(ctx context.Context) (pgx.Tx, error) { return db.Session().Write().Begin(ctx) }), commit(s.DB.Begin),
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		for i := range sessionReads / measure.Rounds {
			one, err := calls[i%2](ctx, rand.N(documents))
			if err != nil {
				return err
			}
			f.Add([]string{"ours", "bare"}[i%2], float64(one)/float64(time.Millisecond))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("commit", "ours", "bare", "ms",
		fmt.Sprintf("COMMIT with its position; reference: bare COMMIT, on a durable server; %d each, by turns; medians", sessionReads/2))}, nil
}
