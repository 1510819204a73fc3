package reads

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/internal/redisurl"
	"casq/internal/testing/testproc"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

const (
	dyingWriterChild = "dying writer"
	// afterMarks is the point before the commit, when the objects are marked.
	afterMarks = "marked"
	// afterCommit is the point before the position is stored.
	afterCommit = "committed"
)

// dyingWriter writes a document in a process of its own, which freezes at a point and
// is killed there.
type dyingWriter struct {
	URL, Redis   string
	At, ID, Text string
	Twin         bool // stores a position after the commit, and nothing before it
}

// killWriter returns when the process was killed at its point.
func killWriter(t *testing.T, spec dyingWriter) {
	t.Helper()
	encoded, err := json.Marshal(spec)
	must(t, err)
	p := testproc.Start(t, dyingWriterChild, string(encoded))
	p.AwaitFrozen("frozen at " + spec.At)
	p.Kill()
}

func dyingWriterMain(args []string) error {
	var spec dyingWriter
	if err := json.NewDecoder(strings.NewReader(args[0])).Decode(&spec); err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, spec.URL)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := redisurl.Open(spec.Redis)
	if err != nil {
		return err
	}
	defer client.Close()
	if spec.Twin {
		return spec.twin(ctx, pool, client)
	}
	return spec.ours(ctx, pool, client)
}

func (spec dyingWriter) reach(point string) {
	if point == spec.At {
		testproc.Freeze("frozen at " + point)
	}
}

func (spec dyingWriter) ours(ctx context.Context, pool *pgxpool.Pool, client redis.UniversalClient) error {
	store := pointedStore{redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second}), spec.reach}
	db, err := replica.New(ctx, pool, replica.Options{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Session(document(spec.ID)).Write().Exec(ctx, upsert, spec.ID, spec.Text)
	return err
}

func (spec dyingWriter) twin(ctx context.Context, pool *pgxpool.Pool, client redis.UniversalClient) error {
	if _, err := pool.Exec(ctx, upsert, spec.ID, spec.Text); err != nil {
		return err
	}
	var at int64
	if err := pool.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").Scan(&at); err != nil {
		return err
	}
	spec.reach(afterCommit)
	return client.Set(ctx, "twin", fmt.Sprint(at), 0).Err()
}

// pointedStore tells when a write has come to one of its points.
type pointedStore struct {
	replica.Store
	reach func(point string)
}

func (s pointedStore) Begin(ctx context.Context, objects []replica.Object, id string, timeline int64, xid uint64) error {
	err := s.Store.Begin(ctx, objects, id, timeline, xid)
	s.reach(afterMarks)
	return err
}

func (s pointedStore) End(ctx context.Context, objects []replica.Object, id string, at replica.Position) error {
	s.reach(afterCommit)
	return s.Store.End(ctx, objects, id, at)
}
