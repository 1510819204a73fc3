package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"casq/internal/redisurl"
	"casq/replica"
	"casq/replica/redisstore"

	"golang.org/x/sync/errgroup"
)

const (
	replicaSchema = "casq"
	readEvery     = 40 * time.Millisecond
	// readPatience is for a write or a read on a server that hangs.
	readPatience = 3 * time.Second

	putVersion = "UPDATE versions SET version = greatest(version, $2) WHERE id = $1"
	getVersion = "SELECT version FROM versions WHERE id = $1"
)

// readCounts are of what was read back.
type readCounts struct {
	writes, compared, standby, lost, unanswered atomic.Int64
}

// pair are two clients as two processes have them, and the row that they alone
// write.
type pair struct {
	id             int64
	writer, reader *replica.DB
	// objects are watched by both; without any, the writer hands the reader its token.
	objects []replica.Object
}

// readBack writes versions, and reads them through package replica in the session
// that wrote, and in one of another process, until stop is closed.
func (c *chaos) readBack(ctx context.Context, stop <-chan struct{}) error {
	redis, err := redisurl.Open(c.site.source.Redis.URL())
	if err != nil {
		return err
	}
	defer redis.Close()
	open := func(store replica.Store) (*replica.DB, error) {
		return replica.New(ctx, c.site.source.DB, replica.Options{
			Schema: replicaSchema, Standbys: replica.URLs(c.site.url(followLink)), Logger: quiet,
			// Without it, a writer that is cut off from Redis may commit what others do not know.
			Store: store, Strict: store != nil,
		})
	}
	told := pair{id: 1}
	watching := pair{id: 2, objects: []replica.Object{{Namespace: "version", ID: "2"}}}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range []pair{told, watching} {
		for _, db := range []**replica.DB{&p.writer, &p.reader} {
			var store replica.Store
			if p.objects != nil {
				store = redisstore.New(redis, redisstore.Options{})
			}
			if *db, err = open(store); err != nil {
				return errors.Join(fmt.Errorf("open the primary and its standby: %w", err), group.Wait())
			}
			defer (*db).Close()
		}
		group.Go(func() error { return c.readPair(ctx, stop, p) })
	}
	return group.Wait()
}

func (c *chaos) readPair(ctx context.Context, stop <-chan struct{}, p pair) error {
	for version := int64(1); ; version++ {
		if err := c.readVersion(ctx, p, version); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readEvery/2 + rand.N(readEvery)):
		}
	}
}

// readVersion writes a version, and has both clients read it. A write whose answer
// is lost may come later, but puts no newer version back.
func (c *chaos) readVersion(ctx context.Context, p pair, version int64) error {
	writer, reader := p.writer.Session(p.objects...), p.reader.Session(p.objects...)
	writing, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	if _, err := writer.Write().Exec(writing, putVersion, p.id, version); err != nil {
		c.reads.unanswered.Add(1)
		return nil
	}
	c.reads.writes.Add(1)
	if p.objects == nil {
		reader.Carry(writer.Token(writing))
	}
	for _, s := range []*replica.Session{writer, reader} {
		if err := c.compareRead(ctx, s, p.id, version); err != nil {
			return err
		}
	}
	return nil
}

// compareRead reads the row and complains when that shows less than the primary has.
func (c *chaos) compareRead(ctx context.Context, s *replica.Session, id, version int64) error {
	reading, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	var shown int64
	if err := s.Read().QueryRow(reading, getVersion, id).Scan(&shown); err != nil {
		c.reads.unanswered.Add(1)
		return nil
	}
	c.reads.compared.Add(1)
	if choices := s.Choices(); choices[len(choices)-1].Reason.Standby() {
		c.reads.standby.Add(1)
	}
	if shown >= version {
		return nil
	}
	kept, err := c.keptVersion(ctx, id)
	if err != nil {
		return err
	}
	if kept < version {
		c.reads.lost.Add(1)
		return nil
	}
	c.complain("a read was stale: it shows version %d of row %d, %d was acknowledged before, and the primary has %d:\n%s",
		shown, id, version, kept, s.Explain())
	return nil
}

// keptVersion asks the primary. It waits for it.
func (c *chaos) keptVersion(ctx context.Context, id int64) (version int64, err error) {
	for {
		err := c.site.source.DB.QueryRow(ctx, getVersion, id).Scan(&version)
		if err == nil || !lostConnection(err) {
			return version, err
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// checkReads says what there was to compare; that nothing was is found, too.
func checkReads(_ context.Context, c *chaos) ([]violation, error) {
	n := &c.reads
	c.journal.say("%d versions written, %d reads of them compared, %d of those by the standby; %d were lost in a failover, %d writes and reads had no answer",
		n.writes.Load(), n.compared.Load(), n.standby.Load(), n.lost.Load(), n.unanswered.Load())
	if n.compared.Load() == 0 {
		return []violation{{text: "nothing that was written was read back"}}, nil
	}
	return nil, nil
}
