package cursor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"casq/eventlog"
	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// retryState is what a cursor remembers of a batch that does not succeed. It does
// not outlive the process, and another one that takes over counts by itself: a
// batch is tried a few times more then.
type retryState struct {
	at    eventlog.Position // where the batch begins
	begun int               // how often it was begun
	tries int               // of these, how many ended with an error of its data
}

// consume hands a batch's events to the consumer, in the batch's transaction
// and after its fence. An error rolls back the batch, its position included.
//
// A batch whose data the consumer has refused for Config.Tries times is applied
// in ever smaller parts, and events that are refused alone are dead-lettered; all
// that in the same transaction, too.
func (h *holder) consume(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	if len(batch.Events) == 0 {
		return nil
	}
	if h.retries.at != h.stored {
		h.retries = retryState{at: h.stored}
	}
	t := &h.retries
	t.begun++
	if t.tries >= h.cfg.Tries {
		p := bisection{holder: h, tx: tx, batch: batch}
		return p.run(ctx)
	}
	err := h.cfg.Consumer.Apply(ctx, tx, batch)
	if err == nil && t.begun > h.cfg.Tries {
		// What cannot be committed may be a deferred constraint.
		_, err = tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE")
	}
	if isData(err) {
		t.tries++
	}
	if err != nil {
		return fmt.Errorf("apply %d events: %w", len(batch.Events), err)
	}
	return nil
}

// isData tells whether an error is about the data of the events and not about
// the state of the system: SQLSTATE classes 22 (data exception) and 23
// (constraint violation), data that cannot be decoded, a kind that is not
// defined anywhere. All else may be over later, whatever the events are.
func isData(err error) bool {
	if code := database.Code(err); code != "" {
		return strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
	}
	_, isSyntax := errors.AsType[*json.SyntaxError](err)
	_, isType := errors.AsType[*json.UnmarshalTypeError](err)
	return isSyntax || isType || errors.Is(err, eventlog.ErrUnknownKind)
}
