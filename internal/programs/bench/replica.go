package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"casq/internal/testing/servers"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// replicaSite is a durable primary with two standbys, a Redis, and documents.
type replicaSite struct {
	primary  *servers.Postgres
	standbys []*servers.Postgres
	server   *servers.Redis
	pool     *pgxpool.Pool
	bare     []*pgxpool.Pool // one for each standby
	redis    *redis.Client
}

const replicaDocuments = 1000

func newReplicaSite(ctx context.Context) (_ *replicaSite, err error) {
	s := &replicaSite{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.primary, err = servers.StartPostgres(ctx, servers.PostgresOptions{Durable: true}); err != nil {
		return nil, err
	}
	for range 2 {
		standby, err := s.primary.Standby(ctx, servers.StandbyOptions{})
		if err != nil {
			return nil, err
		}
		s.standbys = append(s.standbys, standby)
		pool, err := pgxpool.New(ctx, standby.URL("postgres"))
		if err != nil {
			return nil, err
		}
		s.bare = append(s.bare, pool)
	}
	if s.server, err = servers.StartRedis(ctx, servers.RedisOptions{}); err != nil {
		return nil, err
	}
	options, err := redis.ParseURL(s.server.URL())
	if err != nil {
		return nil, err
	}
	options.ContextTimeoutEnabled = true
	s.redis = redis.NewClient(options)
	if s.pool, err = pgxpool.New(ctx, s.primary.URL("postgres")); err != nil {
		return nil, err
	}
	if err := replica.Setup(ctx, s.pool, ""); err != nil {
		return nil, err
	}
	_, err = s.pool.Exec(ctx, `CREATE TABLE documents (id text PRIMARY KEY, version bigint NOT NULL);
		INSERT INTO documents SELECT n::text, 0 FROM generate_series(0, 999) AS n`)
	return s, errors.Join(err, s.catchUp(ctx))
}

func (s *replicaSite) catchUp(ctx context.Context) (err error) {
	for _, standby := range s.standbys {
		err = errors.Join(err, standby.WaitReplayed(ctx, s.primary))
	}
	return err
}

func (s *replicaSite) close() (err error) {
	for _, pool := range append(s.bare, s.pool) {
		if pool != nil {
			pool.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if s.redis != nil {
		err = s.redis.Close()
	}
	for _, standby := range s.standbys {
		err = errors.Join(err, standby.Stop(ctx))
	}
	if s.primary != nil {
		err = errors.Join(err, s.primary.Stop(ctx))
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Stop(ctx))
	}
	return err
}

// open returns a DB on the first n standbys, with or without the store.
func (s *replicaSite) open(ctx context.Context, n int, stored bool) (*replica.DB, error) {
	var urls []string
	for _, standby := range s.standbys[:n] {
		urls = append(urls, standby.URL("postgres"))
	}
	options := replica.Options{Standbys: replica.URLs(urls...), Logger: slog.New(slog.DiscardHandler)}
	if stored {
		options.Store = redisstore.New(s.redis, redisstore.Options{Timeout: time.Second})
	}
	return replica.New(ctx, s.pool, options)
}

func object(i int) replica.Object {
	return replica.Object{Namespace: "document", ID: fmt.Sprint(i)}
}

const readVersion = "SELECT version FROM documents WHERE id = $1"

const sessionReads = 4000

// session: milliseconds of a read that watches one object, and ten, against the same
// query on a bare pool of the same standby and one bare GET; and of one that carries a
// token, without a store, against the query alone.
func session(ctx context.Context) (_ []result, err error) {
	s, err := newReplicaSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	stored, err := s.open(ctx, 1, true)
	if err != nil {
		return nil, err
	}
	defer stored.Close()
	plain, err := s.open(ctx, 1, false)
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
	for i := range replicaDocuments + 9 {
		objects = append(objects, object(i%replicaDocuments))
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
	var results []result
	for _, b := range []struct {
		name            string
		ours, reference func(context.Context, int) error
		note            string
	}{
		{"session/one", watching(1), withGet, "a read that watches one object; reference: the query on the standby, and one bare GET"},
		{"session/ten", watching(10), withGet, "ten objects; the same reference"},
		{"session/token", carrying, query, "a read that carries a token, no store; reference: the query on the standby"},
	} {
		lines, err := byTurns(ctx, b.name, b.ours, b.reference, b.note)
		if err != nil {
			return nil, err
		}
		results = append(results, lines...)
	}
	counts := stored.Counts().Choices
	if counts[replica.CaughtUp] < 3*sessionReads/2 {
		return nil, fmt.Errorf("not all were read from the standby: %v", counts)
	}
	return results, nil
}

// warm readies the floors of all objects, and waits until standbys are beyond them.
func (s *replicaSite) warm(ctx context.Context, db *replica.DB) error {
	for i := range replicaDocuments {
		session := db.Session(object(i))
		var version int64
		if err := session.Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version); err != nil {
			return err
		}
	}
	return s.catchUp(ctx)
}

// byTurns calls ours and the reference in turns, and returns their medians and
// 99th percentiles.
func byTurns(ctx context.Context, name string, ours, reference func(context.Context, int) error, note string) ([]result, error) {
	took := make([][]float64, 2)
	for i := range 2 * sessionReads {
		call := []func(context.Context, int) error{ours, reference}[i%2]
		document := rand.N(replicaDocuments)
		start := time.Now()
		if err := call(ctx, document); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		took[i%2] = append(took[i%2], float64(time.Since(start))/float64(time.Millisecond))
	}
	note = fmt.Sprintf("%s; %d each, by turns", note, sessionReads)
	return []result{
		{Bench: name, Ours: median(took[0]), Reference: median(took[1]), Unit: "ms", Note: note + "; median"},
		{Bench: name + "-p99", Ours: percentile(took[0], 99), Reference: percentile(took[1], 99), Unit: "ms", Note: note + "; 99th percentile"},
	}, nil
}

// commits: milliseconds of a commit that learns its position, against a bare COMMIT.
func commits(ctx context.Context) (_ []result, err error) {
	s, err := newReplicaSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	db, err := s.open(ctx, 1, false)
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
		commit(func(ctx context.Context) (pgx.Tx, error) { return db.Session().Write().Begin(ctx) }), commit(s.pool.Begin),
	}
	took := make([][]float64, 2)
	for i := range sessionReads {
		one, err := calls[i%2](ctx, rand.N(replicaDocuments))
		if err != nil {
			return nil, err
		}
		took[i%2] = append(took[i%2], float64(one)/float64(time.Millisecond))
	}
	return []result{{
		Bench: "commit", Ours: median(took[0]), Reference: median(took[1]), Unit: "ms",
		Note: fmt.Sprintf("COMMIT with its position; reference: bare COMMIT, on a durable server; %d each, by turns; medians", sessionReads/2),
	}}, nil
}
