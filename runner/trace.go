package runner

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed trace.sql
var traceText string

// traceSQL has the statements of trace.sql.
var traceSQL = queries.Parse[struct {
	Of, Append, Begin, AskAgain, Read, ToCompact, Lock, Compact, Compacted string
}]("runner/trace", traceText)

// trace is the log of an attempt, without its bytes.
type trace struct {
	received int64 // bytes that have come
	stored   int64 // bytes that are kept, fewer if cut
	checksum uint32
	cut      bool
	asked    bool // for all of it
}

// with is the trace that a chunk makes of it, and what of that is to be stored. What is
// beyond the limit counts as having come, so that the runner goes on.
func (t trace) with(chunk []byte, most int64) (trace, []byte) {
	keep := chunk
	switch room := max(0, most-t.stored); {
	case t.cut:
		keep = nil
	case int64(len(chunk)) > room:
		keep = fmt.Appendf(chunk[:room:room], "\n\x1b[0;31mThe log is longer than %d bytes: the rest is left out.\x1b[0m\n", most)
		t.cut = true
	}
	t.received += int64(len(chunk))
	t.stored += int64(len(keep))
	t.checksum = crc32.Update(t.checksum, crc32.IEEETable, chunk)
	return t, keep
}

func (c *Coordinator) traceOf(ctx context.Context, j job) (t trace, err error) {
	err = c.primary.QueryRow(ctx, traceSQL.Of, j.id, j.attempt).Scan(&t.received, &t.stored, &t.checksum, &t.cut, &t.asked)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return t, fmt.Errorf("find the log of build %d: %w", j.id, err)
	}
	return t, nil
}

// extend appends a chunk that begins at start, if that is where the log ends; or begins
// the log with it, if the runner was asked for all of it. The log as it is then comes
// back, and whether the chunk is part of it by this call.
func (c *Coordinator) extend(ctx context.Context, j job, start int64, chunk []byte) (t trace, taken bool, err error) {
	if t, err = c.traceOf(ctx, j); err != nil {
		return t, false, err
	}
	c.options.Hook("trace read")
	var next trace
	var keep []byte
	switch {
	case start == 0 && t.asked:
		next, keep = trace{}.with(chunk, c.options.MostTrace)
		_, err = c.change(ctx, []any{&taken}, traceSQL.Begin, j.id, j.attempt,
			next.received, next.stored, next.checksum, next.cut, keep)
	case start == t.received:
		next, keep = t.with(chunk, c.options.MostTrace)
		_, err = c.change(ctx, []any{&taken}, traceSQL.Append, j.id, j.attempt, t.received, t.stored, t.checksum,
			next.received, next.stored, next.checksum, next.cut, keep)
	default:
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("append to the log of build %d: %w", j.id, err)
	}
	if !taken {
		t, err = c.traceOf(ctx, j)
		return t, false, err
	}
	return next, true, nil
}

// errResend asks the runner for all of its log, from the first byte on.
var errResend = &problem{412, "the log that is here is not the one that this tells of, send it again"}

// mostResent is how often a runner sends all of a log again; it tells its end ten times.
const mostResent = 3

// emptySum is that of a log with nothing in it, which cannot be sent again.
const emptySum = "crc32:00000000"

// checkTrace compares the log with what its runner says of it at the end, and asks for
// it again where they differ: mostResent times, since what spoils a log, or loses the end
// of one, may do so again. What is here stays until the other comes.
func (c *Coordinator) checkTrace(ctx context.Context, j job, body updateBody) error {
	sum := body.Output.Checksum
	if sum == "" {
		sum = body.Checksum
	}
	nothing := sum == "" || (sum == emptySum && body.Output.ByteSize == 0)
	if nothing || (j.status != Running && j.status != Canceling) {
		return nil
	}
	t, err := c.traceOf(ctx, j)
	if err != nil {
		return err
	}
	whole := sum == fmt.Sprintf("crc32:%08x", t.checksum) && (body.Output.Checksum == "" || body.Output.ByteSize == t.received)
	if whole {
		return nil
	}
	asked, err := c.change(ctx, nil, traceSQL.AskAgain, j.id, j.attempt, mostResent)
	if err != nil {
		return fmt.Errorf("ask for the log of build %d: %w", j.id, err)
	}
	if asked == 0 {
		c.log.WarnContext(ctx, "the log of a build is not the one that its runner tells of, though it was sent again",
			"build", j.id, "attempt", j.attempt, "bytes", t.received, "told", body.Output.ByteSize)
		return nil
	}
	return errResend
}

// Querier is a connection or a pool of them.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ErrNoBuild is returned of a build, or an attempt at one, that there is not.
var ErrNoBuild = errors.New("there is no such build")

// traceEvery is how often a log that is followed is read.
const traceEvery = 300 * time.Millisecond

// Trace writes the log of a build's attempt to w, from a byte on, a piece at a time: of
// the newest attempt if that is 0. With follow it waits for what comes, until the attempt
// has ended; for the newest of a build that waits for a runner that is the next attempt.
//
// Errors: [ErrNoBuild]; those of w.
func Trace(ctx context.Context, db Querier, build int64, attempt int32, offset int64, follow bool, w io.Writer) error {
	for {
		var status Status
		var newest, of int32
		var bytes []byte
		err := db.QueryRow(ctx, traceSQL.Read, build, attempt, offset).Scan(&status, &newest, &of, &bytes)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("read the log of build %d: %w", build, ErrNoBuild)
		case err != nil:
			return fmt.Errorf("read the log of build %d: %w", build, err)
		case of > newest:
			return fmt.Errorf("read the log of build %d: %w: it has %d attempts", build, ErrNoBuild, newest)
		}
		waits := status == Created || status == Pending
		if attempt == 0 && follow && waits {
			bytes = nil // of the attempt before
		} else {
			attempt = of
		}
		if len(bytes) > 0 {
			if _, err := w.Write(bytes); err != nil {
				return fmt.Errorf("write the log of build %d: %w", build, err)
			}
			offset += int64(len(bytes))
			continue
		}
		// A build that ended before anybody had it has no attempt.
		ended := (!waits && status != Running && status != Canceling) || (attempt > 0 && (attempt < newest || waits))
		if !follow || ended {
			return nil
		}
		if err := pause.For(ctx, traceEvery); err != nil {
			return err
		}
	}
}

const (
	// compactTo is how much of a log a row has after its end, at least; and compactAtOnce
	// how much of it one statement reads.
	compactTo     = 1 << 20
	compactAtOnce = 16 << 20
)

// compactTraces joins the pieces of logs whose attempts have ended into large rows. One
// that is followed meanwhile is read on: by byte, and not by row.
func (c *Coordinator) compactTraces(ctx context.Context) error {
	type attempt struct {
		Build   int64
		Attempt int32
	}
	rows, err := c.primary.Query(ctx, traceSQL.ToCompact)
	if err != nil {
		return fmt.Errorf("find logs to compact: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[attempt])
	if err != nil {
		return fmt.Errorf("find logs to compact: %w", err)
	}
	for _, a := range all {
		if err := c.compactTrace(ctx, a.Build, a.Attempt); err != nil {
			return fmt.Errorf("compact the log of build %d: %w", a.Build, err)
		}
	}
	return nil
}

func (c *Coordinator) compactTrace(ctx context.Context, build int64, attempt int32) error {
	return pgx.BeginFunc(ctx, c.primary, func(tx pgx.Tx) error {
		var stored int64
		err := tx.QueryRow(ctx, traceSQL.Lock, build, attempt).Scan(&stored)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another process has done it
		}
		for from := int64(0); from < stored && err == nil; from += compactAtOnce {
			_, err = tx.Exec(ctx, traceSQL.Compact, build, attempt, from, from+compactAtOnce, compactTo)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, traceSQL.Compacted, build, attempt)
		return err
	})
}
