package main

import (
	"context"
	_ "embed"
	"fmt"

	"casq/eventlog"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed recorder.sql
var recorderText string

// recorderSQL has the statements of recorder.sql.
var recorderSQL = queries.Parse[struct{ Record, Rewound string }]("chaos/recorder", recorderText)

// recorderName is that of the cursor, and of what it moves for.
const recorderName = "recorder"

// recorder is a consumer whose effect is a row for each event that it is
// given, with the tick that delivered it.
type recorder struct{ worker string }

// Apply implements [cursor.Consumer].
func (r recorder) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	nonce := batch.Next.Nonce
	if batch.Next.InStep() {
		nonce = batch.Next.ToNonce
	}
	var ids []int64
	var kinds, keys, ops []string
	for i := range batch.Events {
		e := &batch.Events[i]
		ids, kinds = append(ids, e.ID), append(kinds, e.Kind)
		keys, ops = append(keys, e.ResourceID), append(ops, string(e.Op))
	}
	_, err := tx.Exec(ctx, recorderSQL.Record, batch.Timeline.Ordinal, batch.Timeline.ID, batch.Tick, nonce, ids, kinds, keys, ops, r.worker, recorderName)
	if err != nil {
		return fmt.Errorf("record %d events: %w", len(ids), err)
	}
	return nil
}

// Rewound implements [cursor.Rewinder]: what is counted needs nothing made good
// for.
func (r recorder) Rewound(ctx context.Context, tx pgx.Tx, w eventlog.Rewind) error {
	_, err := tx.Exec(ctx, recorderSQL.Rewound, w.From.Timeline.Ordinal, w.From.Tick, w.To.Timeline.Ordinal, w.To.Tick, w.Everything, r.worker)
	if err != nil {
		return fmt.Errorf("record the way back: %w", err)
	}
	return nil
}
