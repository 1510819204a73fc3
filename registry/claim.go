package registry

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/portion"
	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

//go:embed claim.sql
var claimText string

// claimSQL has the statements of claim.sql.
var claimSQL = queries.Parse[struct{ Lock, Claim, Refuse, Verdict, Complete, GiveUp, Request string }]("registry/claim", claimText)

// kindsOfSQL reads kinds ($1) while rows of theirs are locked. A move of a kind locks
// them, too: it has committed, and is seen, or comes later, and takes the claim away.
const kindsOfSQL = "SELECT " + eventlog.KindColumns + " FROM casq.kinds WHERE kind = ANY ($1::text[])"

// mostTaken is the longest time until a resource is tried again whose place is another kind's.
const mostTaken = 15 * time.Minute

// claimGroup is how many claims share a transaction. 64 costs about a tenth
// of the rate, more than 256 gain nothing.
const claimGroup = 256

// claiming is one call of Claim on its way through the batcher.
type claiming struct {
	token Token
	job   int64
	id    uuid.UUID
	ctx   context.Context

	claim  *Claim
	err    error
	unsure bool // it may have been granted by a transaction whose answer was lost
	done   chan struct{}
}

func (c *claiming) answer(claim *Claim, err error) {
	c.claim, c.err = claim, err
	close(c.done)
}

// Claim starts a run of the token's version on behalf of job. It returns
// [ErrSuperseded] or [ErrHandedOver] when there is nothing to do for this run,
// [TakenError] when the place is another kind's, and [ErrProcessLost] when this process was
// taken for dead.
//
// It waits for the answer even when ctx ends: a claim that was granted without its
// run knowing would be held for as long as this process lives. For the same
// reason one that may have been granted is given back before an error is
// returned: after a lost answer a newer version can have come.
func (r *Registry) Claim(ctx context.Context, token Token, job int64) (*Claim, error) {
	c := &claiming{token: token, job: job, id: uuid.New(), ctx: ctx, done: make(chan struct{})}
	r.claims.add(c)
	<-c.done
	if c.err != nil && c.unsure {
		err := r.Release(&Claim{Token: token, ID: c.id})
		if err != nil && !errors.Is(err, ErrFenced) {
			return nil, errors.Join(c.err, err)
		}
	}
	return c.claim, c.err
}

// claimAll answers a group of claims in one transaction, again and again until
// the database says yes or no: after an unknown answer the same claims are
// asked for again, and those that were granted are found so.
func (r *Registry) claimAll(group []*claiming) {
	slices.SortFunc(group, func(a, b *claiming) int { return compareTokens(a.token, b.token) })
	group, later := onceEach(group)
	defer func() { r.claims.add(later...) }()
	for try := 0; ; try++ {
		err := r.tryClaims(group)
		if err == nil {
			return
		}
		r.cfg.Logger.Warn("cannot claim, trying again", "claims", len(group), "err", err)
		if permanent(err) && len(group) > 1 {
			each(group, r.claimAll)
			return
		}
		if len(group) > 1 && (database.Code(err) != "" && portion.TooMuch(err) || errors.Is(err, context.DeadlineExceeded)) {
			// The claims come with the rows' payloads, which may be too much for the link at
			// once.
			r.claimAll(group[:len(group)/2])
			r.claimAll(group[len(group)/2:])
			return
		}
		if permanent(err) || !r.backOff(try) || stopped(group) {
			for _, c := range group {
				c.answer(nil, fmt.Errorf("claim %s %q: %w", c.token.Kind, c.token.ResourceID, r.because(err)))
			}
			return
		}
	}
}

// onceEach leaves one claim of each resource in a sorted group. Those that are left wait
// for the next transaction, and ask the run of the one that is granted.
func onceEach(group []*claiming) (once, later []*claiming) {
	for i, c := range group {
		if i > 0 && c.token.Kind == group[i-1].token.Kind && c.token.ResourceID == group[i-1].token.ResourceID {
			later = append(later, c)
			continue
		}
		once = append(once, c)
	}
	return once, later
}

// each runs a group's members alone, so that bad data of one is not an error of
// the others.
func each[T any](group []T, run func([]T)) {
	for i := range group {
		run(group[i : i+1])
	}
}

// permanent tells whether a transaction cannot succeed because of its data.
// Everything else passes, or is for an operator to repair, and is tried again:
// a full disk or a server without free connections is no reason to throw away
// an hour's copy.
func permanent(err error) bool {
	switch code := database.Code(err); {
	case strings.HasPrefix(code, "22"), strings.HasPrefix(code, "23"):
		return true
	default:
		return errors.Is(err, eventlog.ErrUnknownKind)
	}
}

// because adds the cause to an error after which no other attempt is made, when that
// is the process's end.
func (r *Registry) because(err error) error {
	if cause := context.Cause(r.process.Done()); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// stopped tells whether the contexts of all callers have ended.
func stopped(group []*claiming) bool {
	return !slices.ContainsFunc(group, func(c *claiming) bool { return c.ctx.Err() == nil })
}

// tryClaims is one pipelined transaction: lock in key order, claim what is
// free and ask the runs that hold the rest, give back what has a place that is another
// kind's, read where their kinds are, and read whether this process still counts.
func (r *Registry) tryClaims(group []*claiming) error {
	ctx, cancel := context.WithTimeout(r.process.Done(), statementTimeout)
	defer cancel()
	conn, err := r.cfg.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var found claimsFound
	if err := conn.SendBatch(ctx, found.batch(group, r.process.ID())).Close(); err != nil {
		for _, c := range group {
			c.unsure = c.unsure || !database.Answered(err)
		}
		return err
	}
	for _, c := range group {
		c.answer(found.of(c))
	}
	return nil
}

// claimsFound is what the transaction of a group of claims has come to.
type claimsFound struct {
	granted     map[uuid.UUID]*Claim
	refused     map[uuid.UUID]error // of those, since another kind's resource has the place
	asked       map[uuid.UUID]bool
	definitions map[string]eventlog.Kind
	alive       bool // the process counts as alive
}

// batch has the statements, whose answers it keeps.
func (f *claimsFound) batch(group []*claiming, process uuid.UUID) *pgx.Batch {
	f.granted, f.asked, f.definitions = make(map[uuid.UUID]*Claim, len(group)), make(map[uuid.UUID]bool), make(map[string]eventlog.Kind)
	f.refused = make(map[uuid.UUID]error)
	kinds, ids, versions, claims, jobs := claimColumns(group)
	batch := &pgx.Batch{}
	batch.Queue(claimSQL.Lock, kinds, ids)
	batch.Queue(claimSQL.Claim, kinds, ids, versions, claims, jobs, process, ErrCancelled.Error()).Query(f.claimed)
	batch.Queue(claimSQL.Refuse, kinds, ids, claims, mostTaken.Seconds()).Query(f.takenBack)
	batch.Queue(kindsOfSQL, kinds).Query(func(rows pgx.Rows) error {
		var k eventlog.Kind
		_, err := pgx.ForEachRow(rows, k.Fields(), func() error {
			f.definitions[k.Name] = k
			return nil
		})
		return err
	})
	batch.Queue("SELECT EXISTS (SELECT FROM casq.processes WHERE id = $1 AND dead_at IS NULL)", process).
		QueryRow(func(row pgx.Row) error { return row.Scan(&f.alive) })
	return batch
}

// claimed reads the claims that were granted, and those for which other runs were asked.
func (f *claimsFound) claimed(rows pgx.Rows) error {
	for rows.Next() {
		c, granted := &Claim{}, false
		if err := rows.Scan(&c.ID, &granted, &c.Payload, &c.Deleted, &c.Incarnation, &c.Fresh, &c.First, &c.Nothing, &c.Checksum,
			&c.Attempts, &c.Timeline, &c.EventID, &c.Tick, &c.Moved, &c.Base.Key, &c.Base.Incarnation, &c.Aside); err != nil {
			return err
		}
		if granted {
			f.granted[c.ID] = c
		} else {
			f.asked[c.ID] = true
		}
	}
	return rows.Err()
}

// takenBack reads the claims that were given back: of copies, which are tried again,
// and of removals, which are done.
func (f *claimsFound) takenBack(rows pgx.Rows) error {
	var id uuid.UUID
	var removal bool
	var why string
	var seconds float64
	_, err := pgx.ForEachRow(rows, []any{&id, &removal, &why, &seconds}, func() error {
		f.refused[id] = ErrSuperseded
		if !removal {
			f.refused[id] = &TakenError{Why: why, RetryIn: time.Duration(seconds * float64(time.Second)), First: seconds == 1}
		}
		return nil
	})
	return err
}

// of is the answer to one of the group.
func (f *claimsFound) of(c *claiming) (*Claim, error) {
	claim := f.granted[c.id]
	switch {
	case f.refused[c.id] != nil:
		return nil, f.refused[c.id]
	case claim != nil:
		claim.Token, claim.Of = c.token, f.definitions[c.token.Kind]
		return claim, nil
	case f.asked[c.id]:
		return nil, ErrHandedOver
	case !f.alive:
		return nil, ErrProcessLost
	default:
		return nil, ErrSuperseded
	}
}

func claimColumns(group []*claiming) (kinds, ids []string, versions []int64, claims uuids, jobs []int64) {
	n := len(group)
	kinds, ids, versions, claims, jobs = make([]string, n), make([]string, n), make([]int64, n), make(uuids, n), make([]int64, n)
	for i, c := range group {
		kinds[i], ids[i], versions[i], jobs[i] = c.token.Kind, c.token.ResourceID, c.token.Version, c.job
		claims[i] = pgtype.UUID{Bytes: c.id, Valid: true}
	}
	return kinds, ids, versions, claims, jobs
}

// uuids are sent as they are. A []uuid.UUID goes by way of texts, which was a tenth of a
// worker's CPU time.
type uuids = pgtype.FlatArray[pgtype.UUID]

// LockRows locks rows of a kind until tx ends. The keys are in order.
func LockRows(ctx context.Context, tx pgx.Tx, kind string, keys []string) error {
	if _, err := tx.Exec(ctx, claimSQL.Lock, slices.Repeat([]string{kind}, len(keys)), keys); err != nil {
		return fmt.Errorf("lock %d rows: %w", len(keys), err)
	}
	return nil
}

func compareTokens(a, b Token) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ResourceID, b.ResourceID), cmp.Compare(a.Version, b.Version))
}

// statementTimeout bounds one batched transaction, so that a connection that
// hangs is closed.
const statementTimeout = 15 * time.Second

// backOff waits longer with each try, two seconds at most. It returns false
// when the process was taken for dead meanwhile: others have the claims.
func (r *Registry) backOff(try int) bool {
	return pause.For(r.process.Done(), min(100*time.Millisecond<<min(try, 5), 2*time.Second)) == nil
}
