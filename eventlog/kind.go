package eventlog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// The ways in which the bytes of a kind are copied.
const (
	TransferFile = "file" // a file below the artifact source
	TransferGit  = "git"  // a repository
	TransferNone = "none" // no bytes: only the registry row
)

// What a resource is whose bytes the source does not have.
const (
	MissingFailed = "failed" // a failure
	MissingAbsent = "absent" // as it may be: an application makes them when they are first used
)

// Kind is a kind of resource, as casq.track or casq.define_kind made it known. Whoever
// acts on a resource goes by what the database says in the transaction that lets
// him: a kind can be moved, and dropped and defined anew.
type Kind struct {
	Name     string
	Transfer string // [TransferFile], [TransferGit] or [TransferNone]
	Queue    string // of its River jobs
	Prefix   string // the folder at the target that its keys are relative to; "" for the root
	// SourcePrefix is that folder at the source, likewise.
	SourcePrefix string
	Missing      string        // [MissingFailed] or [MissingAbsent]
	Quiet        time.Duration // what changes often is copied when it has not changed for so long; 0: at once
	Probe        time.Duration // how often what is in place is compared with the source; 0: never
}

// KindColumns are those of casq.kinds that [Kind.Fields] scans.
const KindColumns = "kind, transfer, queue, coalesce(prefix, ''), coalesce(source_prefix, ''), missing, quiet, probe"

// Fields are where a row of [KindColumns] is scanned to.
func (k *Kind) Fields() []any {
	return []any{&k.Name, &k.Transfer, &k.Queue, &k.Prefix, &k.SourcePrefix, &k.Missing, &k.Quiet, &k.Probe}
}

const kindsSQL = "SELECT " + KindColumns + " FROM casq.kinds"

// Kinds returns the kinds that db knows, by name.
func Kinds(ctx context.Context, db DB) (map[string]Kind, error) {
	rows, err := db.Query(ctx, kindsSQL)
	if err != nil {
		return nil, fmt.Errorf("list kinds: %w", err)
	}
	return collectKinds(rows)
}

func collectKinds(rows pgx.Rows) (map[string]Kind, error) {
	kinds, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Kind])
	if err != nil {
		return nil, fmt.Errorf("list kinds: %w", err)
	}
	byName := make(map[string]Kind, len(kinds))
	for _, k := range kinds {
		byName[k.Name] = k
	}
	return byName, nil
}
