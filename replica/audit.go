package replica

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// auditor compares what watched reads returned with the primary's truth: a check of
// this package while it is in use. Zero violations are expected.
//
// A read shows everything up to its need and, as far as is known, up to the position
// that its host had. When the primary answers otherwise although the store names no write
// of the watched objects beyond these, that was not so. The store is asked last: a write
// that the primary's answer shows had its mark there before its commit.
type auditor struct {
	db      *DB
	store   Store
	pending chan *audit

	compared, undecided, violations atomic.Int64
}

// audit is one read to be compared.
type audit struct {
	sql     string
	args    []any
	objects []Object
	shown   Position // what the read must have shown
	host    string
	read    digest
}

const (
	pendingAudits = 64
	// auditGrace is for writes past this package, which tell the store a moment after
	// their commit: [Session.Wrote].
	auditGrace = 100 * time.Millisecond
)

// Audits counts the reads that were compared, by outcome.
type Audits struct {
	// Same are those that the primary answered in the same way.
	Same int64
	// Undecided differed, but so may the truth: the objects were written meanwhile, the
	// store or the primary did not answer, or the primary differs from itself. Also those
	// that were too many, or whose arguments cannot be kept.
	Undecided int64
	// Violations are stale reads, or queries that read what their session does not
	// watch, or that ask for the server itself. Each is logged.
	Violations int64
}

func newAuditor(db *DB, store Store) *auditor {
	return &auditor{db: db, store: store, pending: make(chan *audit, pendingAudits)}
}

func (a *auditor) counts() Audits {
	if a == nil {
		return Audits{}
	}
	return Audits{Same: a.compared.Load(), Undecided: a.undecided.Load(), Violations: a.violations.Load()}
}

// sample returns an audit of a read that is about to be sent, or nil.
func (a *auditor) sample(s *Session, choice Choice, sql string, args []any) *audit {
	if a == nil || choice.Need.IsZero() || rand.Float64() >= a.db.options.Audit {
		return nil
	}
	objects := s.Watched()
	if len(objects) == 0 {
		return nil
	}
	kept, ok := keep(args)
	if !ok {
		a.undecided.Add(1)
		return nil
	}
	return &audit{sql: sql, args: kept, objects: objects, host: choice.Host, shown: later(choice.Need, choice.At)}
}

// run compares, one at a time.
func (a *auditor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case read := <-a.pending:
			a.compare(ctx, read)
		}
	}
}

// add has a read compared that has ended, unless too many are waiting.
func (a *auditor) add(read *audit) {
	select {
	case a.pending <- read:
	default:
		a.undecided.Add(1)
	}
}

func (a *auditor) compare(ctx context.Context, read *audit) {
	ctx, cancel := context.WithTimeout(ctx, primaryPatience)
	defer cancel()
	truth, err := a.primary(ctx, read)
	switch {
	case err == nil && truth == read.read:
		a.compared.Add(1)
	case err == nil && a.stale(ctx, read, truth):
		a.violations.Add(1)
		a.db.options.Logger.ErrorContext(ctx, "a standby's answer differs from the primary's, and nobody wrote",
			"host", read.host, "sql", read.sql, "shown", read.shown.String(), "rows", read.read.rows, "primary_rows", truth.rows)
	default:
		a.undecided.Add(1)
	}
}

// stale says whether nothing but this package, or its use, explains the difference.
func (a *auditor) stale(ctx context.Context, read *audit, truth digest) bool {
	if again, err := a.primary(ctx, read); err != nil || again != truth || truth.columns != read.read.columns {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(auditGrace):
	}
	known, err := a.store.Read(ctx, read.objects)
	return err == nil && len(known.Writing) == 0 && len(known.Unready) == 0 && read.shown.covers(known.Position)
}

func (a *auditor) primary(ctx context.Context, read *audit) (digest, error) {
	rows, err := a.db.queryPrimary(ctx, read.sql, read.args)
	if err != nil {
		return digest{}, err
	}
	defer rows.Close()
	d := describe(rows)
	for rows.Next() {
		d.add(rows.RawValues())
	}
	rows.Close()
	return d, rows.Err()
}

// digest is of a result as a bag of rows: without ORDER BY two servers may return
// them in any order.
type digest struct {
	rows    int
	values  uint64 // the sum of the rows' hashes
	columns uint64 // types and formats, which tell whether values can be compared
}

var digestSeed = maphash.MakeSeed()

func describe(rows pgx.Rows) digest {
	var hash maphash.Hash
	hash.SetSeed(digestSeed)
	for _, column := range rows.FieldDescriptions() {
		maphash.WriteComparable(&hash, [2]uint32{column.DataTypeOID, uint32(uint16(column.Format))})
	}
	return digest{columns: hash.Sum64()}
}

func (d *digest) add(row [][]byte) {
	var hash maphash.Hash
	hash.SetSeed(digestSeed)
	for _, value := range row {
		length := len(value)
		if value == nil {
			length = -1
		}
		maphash.WriteComparable(&hash, length)
		_, _ = hash.Write(value) // Never an error.
	}
	d.rows++
	d.values += hash.Sum64()
}

// audited are rows whose digest is taken while they are read, and also of those
// that the caller leaves.
type audited struct {
	pgx.Rows
	auditor *auditor
	audit   *audit
	ended   bool
}

// tap has the rows of a standby compared, if they are to be.
func (t *seat) tap(inner pgx.Rows) pgx.Rows {
	if t.audit == nil {
		return inner
	}
	t.audit.read = describe(inner)
	return &audited{Rows: inner, auditor: t.host.db.auditor, audit: t.audit}
}

func (r *audited) Next() bool {
	if r.Rows.Next() {
		r.audit.read.add(r.RawValues())
		return true
	}
	if !r.ended && r.Err() == nil {
		r.auditor.add(r.audit)
	}
	r.ended = true
	return false
}

func (r *audited) Close() {
	for !r.ended { // The server has sent them anyway.
		r.Next()
	}
	r.Rows.Close()
}

// keep returns arguments that the caller cannot change any more.
func keep(args []any) ([]any, bool) {
	kept := slices.Clone(args)
	for i, arg := range kept {
		if bytes, ok := arg.([]byte); ok {
			kept[i] = slices.Clone(bytes)
		} else if arg != nil && !fixed(reflect.TypeOf(arg)) {
			return nil, false
		}
	}
	return kept, true
}

// fixed says whether values of a type share nothing with their copies.
func fixed(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return fixed(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if field.Type != reflect.TypeFor[*time.Location]() && !fixed(field.Type) {
				return false
			}
		}
		return true
	default:
		return t.Kind() <= reflect.Complex128 && t.Kind() != reflect.Invalid || t.Kind() == reflect.String
	}
}
