package replicas

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/servers"
	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// staleFaults is what has happened in a run of stale.
type staleFaults struct {
	rounds int
	// all and served are of reads while nothing happened.
	all, served int64
	swapped     bool
	made        int // standbys
}

// staleStep is how long each fault lasts, and each time without one.
const staleStep = 500 * time.Millisecond

// disturb has one fault after the other, with times in between, until ctx ends.
func (b *staleBench) disturb(ctx context.Context) error {
	wipe := func(ctx context.Context) error { return b.redis.FlushAll(ctx).Err() }
	steps := []func(context.Context) error{
		b.well, b.well, b.lag, b.well, b.well, wipe, b.well, b.well, b.swap, b.well, b.well, b.failover, b.well, b.well,
	}
	for n := 0; ctx.Err() == nil; n++ {
		if err := steps[n%len(steps)](ctx); err != nil && ctx.Err() == nil { // Else it was cut short.
			return fmt.Errorf("fault %d of a round: %w", n%len(steps), err)
		}
		if n%len(steps) == len(steps)-1 {
			b.faults.rounds++
		}
	}
	return nil
}

// well counts, when the standbys are, how many reads they serve.
func (b *staleBench) well(ctx context.Context) error {
	if err := b.CaughtUp(ctx); err != nil {
		return err
	}
	if err := pause.For(ctx, staleStep); err != nil { // Theirs are the first reads after a fault.
		return err
	}
	all, served := b.served()
	if err := pause.For(ctx, staleStep); err != nil {
		return err
	}
	allNow, servedNow := b.served()
	b.faults.all += allNow - all
	b.faults.served += servedNow - served
	return nil
}

func (b *staleBench) served() (all, served int64) {
	for reason, n := range b.ours.Counts().Choices {
		if reason != replica.Write {
			all += n
		}
		if reason.Standby() {
			served += n
		}
	}
	return all, served
}

// lag stops the one standby and has the other be late, and then the other way round.
func (b *staleBench) lag(ctx context.Context) error {
	for i := range b.Standbys {
		stopped, late := b.Standbys[i], b.Standbys[1-i]
		if err := errors.Join(stopped.PauseReplay(ctx), late.SetApplyDelay(ctx, 20*time.Millisecond), pause.For(ctx, staleStep)); err != nil {
			return err
		}
		if err := errors.Join(stopped.ResumeReplay(ctx), late.SetApplyDelay(ctx, 0)); err != nil {
			return err
		}
	}
	return nil
}

// swap puts each standby behind the other's address, while one of them is stopped. First
// only new connections meet the other one, and then all.
func (b *staleBench) swap(ctx context.Context) error {
	b.faults.swapped = !b.faults.swapped
	if err := errors.Join(b.Standbys[1].PauseReplay(ctx), b.point(), pause.For(ctx, staleStep)); err != nil {
		return err
	}
	for _, address := range b.addresses {
		address.Cut()
	}
	return errors.Join(pause.For(ctx, staleStep), b.Standbys[1].ResumeReplay(ctx))
}

// point has the addresses lead to the standbys.
func (b *staleBench) point() error {
	var errs []error
	for i, standby := range b.Standbys {
		if b.faults.swapped {
			i = 1 - i
		}
		errs = append(errs, b.addresses[i].Point(standby.URL("postgres")))
	}
	return errors.Join(errs...)
}

// failover kills the primary, promotes the standby that has more, and sets up another one
// at its address. What only the primary had is lost.
func (b *staleBench) failover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // To its end.
	defer cancel()
	if err := errors.Join(b.Primary.Kill(), b.Primary.Stop(ctx)); err != nil {
		return err
	}
	next, other := 0, 1
	var has [2]uint64
	for i, standby := range b.Standbys {
		var err error
		if has[i], err = replayedAll(ctx, standby); err != nil {
			return err
		}
	}
	if has[1] > has[0] {
		next, other = 1, 0
	}
	if err := b.switchTo(ctx, b.Standbys[next]); err != nil {
		return err
	}
	b.Primary, b.URL = b.Standbys[next], b.Standbys[next].URL("postgres")
	if err := b.Standbys[other].Follow(ctx, b.Primary); err != nil {
		return err
	}
	b.faults.made++
	made, err := b.Primary.Standby(ctx, servers.StandbyOptions{ApplicationName: fmt.Sprintf("made%d", b.faults.made), TCP: true})
	if err != nil {
		return err
	}
	b.Standbys[next] = made
	if err := b.point(); err != nil {
		return err
	}
	for _, address := range b.addresses {
		address.Cut()
	}
	return nil
}

// replayedAll returns where a standby is when it has replayed all that it was sent.
func replayedAll(ctx context.Context, standby *servers.Postgres) (at uint64, err error) {
	conn, err := pgx.Connect(ctx, standby.URL("postgres"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for {
		var all bool
		var replayed int64
		err := conn.QueryRow(ctx, `SELECT pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver),
			pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint`).Scan(&all, &replayed)
		if err != nil || all {
			return uint64(replayed), err
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// switchTo promotes a standby and has the primary's address lead to it. What its clients
// expect from then on is what it has.
func (b *staleBench) switchTo(ctx context.Context, next *servers.Postgres) error {
	b.era.Lock()
	defer b.era.Unlock()
	if err := next.Promote(ctx); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, next.URL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i := range b.acknowledged {
		var version int64
		if err := conn.QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version); err != nil {
			return err
		}
		b.acknowledged[i].Store(version)
	}
	b.primary.Cut()
	return b.primary.Point(next.URL("postgres"))
}
