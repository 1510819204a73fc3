package replica

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// SendBatch sends a batch to the primary, in a transaction of its own.
func (w Writer) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	w.session.db.chose(ctx, w.session, Choice{Host: primaryName, Reason: Write})
	tx, err := w.session.db.begin(ctx, w.session, pgx.TxOptions{})
	if err != nil {
		return pgx.FailedBatchResults(batch, err)
	}
	return &batchInTx{BatchResults: tx.SendBatch(ctx, batch), end: func(err error) error { return tx.end(ctx, err) }}
}

// SendBatch sends a batch of reads to one host. What it writes is refused, and is
// the caller's error: there is no second try, since results may have been read.
func (r Reader) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	tx, err := r.BeginTx(ctx, pgx.TxOptions{})
	if err != nil {
		return pgx.FailedBatchResults(batch, err)
	}
	return &batchInTx{BatchResults: tx.SendBatch(ctx, batch), end: func(err error) error {
		if err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
		return tx.Commit(ctx)
	}}
}

// batchInTx ends its transaction when it is closed.
type batchInTx struct {
	pgx.BatchResults
	end func(error) error
	err error
}

func (b *batchInTx) Close() error {
	if b.end != nil {
		end := b.end
		b.end = nil
		b.err = end(b.BatchResults.Close())
	}
	return b.err
}
