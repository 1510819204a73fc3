package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// storekeeper is what this process owes to its store.
type storekeeper struct {
	db    *DB
	store Store
	debt  debt
	// met says that there are positions that floors could be raised above.
	met atomic.Bool
	// warned says that the log has been told of a position of another history.
	warned atomic.Bool
}

const (
	// markPatience is the age from which a mark may be that of a process that died.
	markPatience = time.Second
	raiseEvery   = time.Second
	payEvery     = 100 * time.Millisecond
)

func newStorekeeper(db *DB, store Store) *storekeeper { return &storekeeper{db: db, store: store} }

// found is what the store told of some objects.
type found struct {
	position Position
	why      Reason // of a read for which no standby has it
	// unread must be asked again: they are being written, or were not told of.
	unread []Object
}

// read asks the store about objects, and does what it finds undone: floors that are
// not there, marks whose writer is gone.
func (k *storekeeper) read(ctx context.Context, objects []Object) (found, error) {
	objects, owed, unpaid := k.settleDebt(ctx, objects)
	if len(objects) == 0 {
		return found{unread: owed}, unpaid
	}
	known, err := k.store.Read(ctx, objects)
	f := found{position: known.Position, why: NoneCaughtUp, unread: owed}
	if known.FromFloor {
		f.why = Floor
	}
	if err != nil {
		f.unread = append(f.unread, k.owe(objects, err)...)
		unpaid = err
	}
	if !known.Position.IsZero() {
		k.met.Store(true)
	}
	switch at, err := k.ours(ctx, known.Position); {
	case err != nil:
		return found{unread: slices.Concat(owed, objects)}, err
	case at != known.Position:
		f.position, f.why = at, Timeline
	}
	if len(known.Unready) > 0 {
		if at, err := k.raiseToPresent(ctx, known.Unready, known.Claim); err != nil {
			f.unread = append(f.unread, known.Unready...)
			unpaid = err
		} else {
			f.position, f.why = later(f.position, at), Floor
		}
	}
	for _, mark := range known.Writing {
		k.meet(ctx, mark, &f)
	}
	return f, unpaid
}

// settleDebt pays for those of objects that a call has failed for. What cannot be
// paid for is not asked about.
func (k *storekeeper) settleDebt(ctx context.Context, objects []Object) (ask, owed []Object, err error) {
	owed = k.debt.of(objects)
	if len(owed) == 0 {
		return objects, nil, nil
	}
	if err = k.pay(ctx, owed); err == nil {
		return objects, nil, nil
	}
	owed = k.debt.of(owed)
	return without(objects, owed), owed, err
}

// ours returns a position of this primary's history that stands for one of the store's.
//
// Those below the primary's own are of a history that was given up: what survived of it
// is on every host that shows the present timeline. One above it that the primary does not
// know is of a primary that was given up for this one without a promotion, or of another
// database. Nothing of it is here; but it hides what was written here since. So the
// present position stands for both, and each session asks for that. It is not taken out of
// the store: this process may be the one that has not heard of a failover yet, and the
// others need it.
func (k *storekeeper) ours(ctx context.Context, at Position) (Position, error) {
	newest := k.db.primary.newest.Load()
	if newest != nil && at.Timeline <= newest.Timeline {
		return at, nil
	}
	known, err := k.db.primary.knows(ctx, at.Timeline)
	if err != nil || known {
		return at, err
	}
	if !k.warned.Swap(true) {
		k.db.options.Logger.WarnContext(ctx, "the store has a position of another history: sessions of its objects ask the primary until its keys are deleted, or a standby is promoted",
			"position", at.String())
	}
	return k.db.primary.present(ctx)
}

// raiseToPresent gives objects the primary's present position as their floor:
// whatever the store has forgotten of them, or was not told, was before it.
func (k *storekeeper) raiseToPresent(ctx context.Context, objects []Object, claim string) (Position, error) {
	at, err := k.db.primary.present(ctx)
	if err != nil {
		return Position{}, err
	}
	if err := k.store.Raise(ctx, objects, at, claim); err != nil {
		k.owe(objects, err)
		return Position{}, fmt.Errorf("raise the floors of the store: %w", err)
	}
	return at, nil
}

// meet adds what a mark says of its object: it is being written, and its position is not
// known; or, as [storekeeper.ours] tells, it is of another history.
func (k *storekeeper) meet(ctx context.Context, mark Mark, f *found) {
	at, err := k.ours(ctx, Position{Timeline: mark.Timeline})
	if err == nil && at.Timeline != mark.Timeline {
		f.position, f.why = later(f.position, at), Timeline
		return
	}
	if !slices.Contains(f.unread, mark.Object) {
		f.unread = append(f.unread, mark.Object)
	}
	if err == nil && mark.Age >= markPatience {
		k.decide(ctx, mark)
	}
}

// decide asks the primary what became of a write whose mark has stayed. In a
// transaction that is still open the mark stays, too.
func (k *storekeeper) decide(ctx context.Context, mark Mark) {
	ctx, cancel := context.WithTimeout(ctx, primaryPatience)
	defer cancel()
	// All on one connection, and so of one server: another one's answer is about a
	// stranger's transaction.
	conn, err := k.db.primary.pool.Acquire(ctx)
	if err != nil {
		return
	}
	defer conn.Release()
	before, err := k.db.primary.positionOn(ctx, conn.Conn())
	if err != nil || before.Timeline < mark.Timeline {
		return // Nor does a primary that was given up know anything of it.
	}
	status := ""
	if before.Timeline == mark.Timeline {
		status = transactionStatus(ctx, conn.Conn(), mark.XID)
	}
	switch status {
	case "in progress":
	case "aborted":
		k.end(ctx, mark, Position{})
	default:
		// Asked after the status: a commit that it told of lies before.
		if at, err := k.db.primary.positionOn(ctx, conn.Conn()); err == nil {
			k.end(ctx, mark, at)
		}
	}
}

func (k *storekeeper) end(ctx context.Context, mark Mark, at Position) {
	if err := k.store.End(ctx, []Object{mark.Object}, mark.ID, at); err != nil {
		k.owe([]Object{mark.Object}, err)
	}
}

// transactionStatus is "" for a transaction of long ago, and for one of the future, which
// is an error.
func transactionStatus(ctx context.Context, conn *pgx.Conn, xid uint64) string {
	var status *string
	err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)", fmt.Sprint(xid)).Scan(&status)
	if err != nil || status == nil {
		return ""
	}
	return *status
}

// pay raises the floors of objects that a call has failed for: the store may lack
// what was written to them meanwhile.
func (k *storekeeper) pay(ctx context.Context, objects []Object) error {
	paid := k.debt.mark()
	_, err := k.raiseToPresent(ctx, objects, "")
	if _, partial := errors.AsType[*PartialError](err); err == nil || partial {
		k.debt.pay(objects, paid) // What has failed is owed anew, since later than paid.
	}
	return err
}

// without returns the objects that are not among others.
func without(objects, others []Object) []Object {
	taken := make(map[Object]bool, len(others))
	for _, object := range others {
		taken[object] = true
	}
	var left []Object
	for _, object := range objects {
		if !taken[object] {
			left = append(left, object)
		}
	}
	return left
}

// owe notes for which of objects a call has failed, and returns them.
func (k *storekeeper) owe(objects []Object, err error) []Object {
	if partial, ok := errors.AsType[*PartialError](err); ok {
		objects = partial.Objects
	}
	k.debt.owe(objects)
	return objects
}

// run pays as soon as it can, so that others too are told of what was written
// while the store was away, and raises the floors to what all standbys have.
func (k *storekeeper) run(ctx context.Context) {
	pay, raise := time.NewTicker(payEvery), time.NewTimer(raiseEvery)
	defer pay.Stop()
	defer raise.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pay.C:
			if owed, everything := k.debt.all(); everything || len(owed) > 0 {
				_ = k.pay(ctx, owed) // The next tick tries again; reads go to the primary meanwhile.
			}
		case <-raise.C:
			k.raise(ctx)
			raise.Reset(raiseEvery/2 + rand.N(raiseEvery))
		}
	}
}

// raise lifts the floors to what every standby that is known here, and answers, has.
// A standby that only others know is behind the floor then, and not read from until it
// has it.
func (k *storekeeper) raise(ctx context.Context) {
	hosts := *k.db.hosts.Load()
	if len(hosts) == 0 || !k.met.Swap(false) {
		return
	}
	var lowest Position
	for _, h := range hosts {
		if at, ok := h.at(); ok && (lowest.IsZero() || lowest.covers(at)) {
			lowest = at
		}
	}
	if lowest.IsZero() {
		k.met.Store(true)
		return
	}
	_ = k.store.Raise(ctx, nil, lowest, "") // The next one raises as far, and further.
	if newest := k.db.primary.newest.Load(); newest != nil && !lowest.covers(*newest) {
		k.met.Store(true) // There may be positions above.
	}
}

// begin notes that the objects of a session are about to be written by the
// transaction that is open on conn. The id is "" when the transaction wrote nothing.
func (k *storekeeper) begin(ctx context.Context, conn *pgx.Conn, objects []Object) (id string, err error) {
	var xid *string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text").Scan(&xid); err != nil {
		return "", err
	}
	if xid == nil {
		return "", nil
	}
	var number uint64
	if _, err := fmt.Sscan(*xid, &number); err != nil {
		return "", fmt.Errorf("read the transaction's id: %w", err)
	}
	id = fmt.Sprintf("%016x", rand.Uint64())
	line := k.db.primary.logOf(conn).timeline // The transaction began with it.
	if err := k.store.Begin(ctx, objects, id, line, number); err != nil {
		k.owe(objects, err)
		return id, fmt.Errorf("%w: %w", ErrStoreAway, err) // It may be noted all the same.
	}
	return id, nil
}

// finish merges the position of a write. What cannot be stored is mended here, or
// decided by any reader that finds the mark.
func (k *storekeeper) finish(ctx context.Context, objects []Object, id string, at Position) {
	if err := k.store.End(ctx, objects, id, at); err != nil {
		k.owe(objects, err)
	}
	k.met.Store(true)
}
