package servers

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// wait polls a query until it returns true.
func (p *Postgres) wait(ctx context.Context, sql string, args ...any) error {
	return p.query(ctx, func(conn *pgx.Conn) error {
		return poll(ctx, func() (done bool, err error) {
			err = conn.QueryRow(ctx, sql, args...).Scan(&done)
			return done, err
		})
	})
}

// PauseReplay makes a standby receive without replaying. It returns when replay
// has stopped.
func (p *Postgres) PauseReplay(ctx context.Context) error {
	if err := p.Exec(ctx, "SELECT pg_wal_replay_pause()"); err != nil {
		return fmt.Errorf("pause replay: %w", err)
	}
	if err := p.wait(ctx, "SELECT pg_get_wal_replay_pause_state() = 'paused'"); err != nil {
		return fmt.Errorf("wait until replay is paused: %w", err)
	}
	return nil
}

// ResumeReplay ends [Postgres.PauseReplay].
func (p *Postgres) ResumeReplay(ctx context.Context) error {
	if err := p.Exec(ctx, "SELECT pg_wal_replay_resume()"); err != nil {
		return fmt.Errorf("resume replay: %w", err)
	}
	return nil
}

// SetApplyDelay makes a standby replay each commit d after it happened on the
// primary; 0 ends that.
func (p *Postgres) SetApplyDelay(ctx context.Context, d time.Duration) error {
	delay := strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	if err := p.Reload(ctx, map[string]string{"recovery_min_apply_delay": delay}); err != nil {
		return fmt.Errorf("set the apply delay: %w", err)
	}
	return nil
}

// Promote makes a standby a primary, with a timeline of its own. It returns
// when the server accepts writes. The former primary is not told.
func (p *Postgres) Promote(ctx context.Context) error {
	if err := p.Exec(ctx, "SELECT pg_promote(wait => false)"); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	if err := p.wait(ctx, "SELECT NOT pg_is_in_recovery()"); err != nil {
		return fmt.Errorf("wait until the standby is promoted: %w", err)
	}
	return nil
}

// WaitReplayed waits until a standby has replayed all that primary has written
// when it is called.
func (p *Postgres) WaitReplayed(ctx context.Context, primary *Postgres) error {
	target, err := primary.position(ctx)
	if err != nil {
		return fmt.Errorf("ask for the primary's position: %w", err)
	}
	err = p.wait(ctx, "SELECT pg_last_wal_replay_lsn() >= '0/0'::pg_lsn + $1::numeric", strconv.FormatUint(target, 10))
	if err != nil {
		return fmt.Errorf("wait until position %X/%X is replayed: %w", target>>32, uint32(target), err)
	}
	return nil
}

// Headers of a page and of a segment's first page.
const (
	walPage        = 8192
	walPageHeader  = 24
	walSegment     = 16 << 20
	walSegmentHead = 40
)

// position returns the end of the last record that a primary has written, and
// sees to it that the record is flushed, without which it is not sent.
func (p *Postgres) position(ctx context.Context) (uint64, error) {
	var inserted, flushed int64
	err := p.query(ctx, func(conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint,
			(pg_current_wal_flush_lsn() - '0/0')::bigint`).Scan(&inserted, &flushed)
		if err != nil || endOfRecord(uint64(inserted)) <= uint64(flushed) {
			return err
		}
		// A commit of its own flushes what others wrote and have not committed.
		// It waits for no standby: that is the caller's to do.
		_, err = conn.Exec(ctx, "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'casq', '')")
		return err
	})
	return endOfRecord(uint64(inserted)), err
}

// endOfRecord turns the place where the next record goes into the place where
// the last one ended. They differ at the start of a page: the next record goes
// behind the page's header, and a standby's replay position would never reach
// it while the primary writes nothing more.
func endOfRecord(inserted uint64) uint64 {
	switch {
	case inserted%walSegment == walSegmentHead:
		return inserted - walSegmentHead
	case inserted%walPage == walPageHeader:
		return inserted - walPageHeader
	default:
		return inserted
	}
}
