package registry

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed verify.sql
var verifyText string

// verifySQL has the statements of verify.sql.
var verifySQL = queries.Parse[struct{ State, Done, Repair, One, Page string }]("registry/verify", verifyText)

// ErrNotInPlace says that a version is not in place, so that there is nothing
// to verify: it is still to be copied, or the resource was removed.
var ErrNotInPlace = errors.New("not in place")

// AnyVersion is a token's version that stands for the row's present one.
const AnyVersion = 0

// InPlace is what a verification compares with.
type InPlace struct {
	Version  int64
	Payload  []byte // a JSON object
	Checksum string // of what was copied; "" if there are no bytes
	Removed  bool   // it is a tombstone: nothing should be there
	Of       eventlog.Kind

	VerifiedAt *time.Time // when it was compared last, or copied; nil: never
	Now        time.Time  // when the row was read, by home's clock
}

// InPlace returns what should be in place of a token. It needs no claim: a
// verification only reads, and its end is conditional. [ErrSuperseded] says that
// the token is not the row's version any more, [ErrNotInPlace] that it is the row's,
// but not in place yet. The token may have [AnyVersion].
func (r *Registry) InPlace(ctx context.Context, t Token) (InPlace, error) {
	var p InPlace
	var synced bool
	err := r.cfg.Pool.QueryRow(ctx, verifySQL.State, t.Kind, t.ResourceID, t.Version).
		Scan(append([]any{&p.Version, &p.Payload, &p.Checksum, &p.Removed, &synced, &p.VerifiedAt, &p.Now}, p.Of.Fields()...)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return p, ErrSuperseded
	case err != nil:
		return p, fmt.Errorf("read %s %q: %w", t.Kind, t.ResourceID, err)
	case !synced:
		return p, ErrNotInPlace
	}
	return p, nil
}

// Verified notes that what is in place of the token is as it should be; began is the
// Now of the [InPlace] that came before the reading. [ErrSuperseded] says that the
// token is not the row's any more: nothing was written.
func (r *Registry) Verified(ctx context.Context, t Token, began time.Time) error {
	tag, err := r.cfg.Pool.Exec(ctx, verifySQL.Done, t.Kind, t.ResourceID, t.Version, began)
	if err != nil {
		return fmt.Errorf("note that %s %q is verified: %w", t.Kind, t.ResourceID, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrSuperseded
	}
	return nil
}

// Repair asks for a new version of what is not as it should be, and returns it.
// fresh says that an update would not mend it: the copy uses nothing of what is in
// place, as for another incarnation of the resource. [ErrSuperseded] says that the token
// is not the row's any more: nothing was written.
func (r *Registry) Repair(ctx context.Context, t Token, fresh bool) (version int64, err error) {
	err = pgx.BeginFunc(ctx, r.cfg.Pool, func(tx pgx.Tx) error {
		job := Job{Token: t}
		err := tx.QueryRow(ctx, verifySQL.Repair, t.Kind, t.ResourceID, t.Version, fresh).Scan(&job.Version, &job.Deleted)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrSuperseded
		}
		if err != nil {
			return err
		}
		version = job.Version
		return r.cfg.Jobs.Insert(ctx, tx, []Job{job}, false)
	})
	if err != nil && !errors.Is(err, ErrSuperseded) {
		err = fmt.Errorf("ask for a new version of %s %q: %w", t.Kind, t.ResourceID, err)
	}
	return version, err
}
