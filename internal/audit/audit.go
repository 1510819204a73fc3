// Package audit says on whose behalf a database session works.
//
// A [Request] travels in the context of what an operator has asked for. [Prepare], which
// each pool of casq calls before it hands out a connection, tells the session about it;
// triggers do the rest: what such a session changes is recorded in casq.audit, in the
// transaction that changes it. No command has anything to record, and none can forget to.
//
// A request's transactions come one after the other: its row is locked by each.
package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Request is what an operator has asked for. Longer texts are cut off by the database.
type Request struct {
	ID     uuid.UUID `json:"id"`     // of the row in casq.audit
	Actor  string    `json:"actor"`  // the person
	Via    string    `json:"via"`    // what was asked: cli, page, or river
	Origin string    `json:"origin"` // the machine, or the address
	Action string    `json:"action"`
	// Touches is how many resources the operator was told it would touch; nil: no number.
	Touches *int64 `json:"touches,omitempty"`
}

type key struct{}

// With returns a context whose statements are those of a request.
func With(ctx context.Context, r Request) context.Context { return context.WithValue(ctx, key{}, r) }

// Of returns the request that a context's statements are part of; the zero Request where there
// is none.
func Of(ctx context.Context) Request {
	r, _ := ctx.Value(key{}).(Request)
	return r
}

// asked is where a connection keeps what its session was told.
const asked = "casq.asked"

// Prepare is a pool's PrepareConn: the session of a connection is told the context's
// request, or that there is none any more. A connection that could not be told is not used.
func Prepare(ctx context.Context, conn *pgx.Conn) (bool, error) {
	request, given := ctx.Value(key{}).(Request)
	told, _ := conn.PgConn().CustomData()[asked].(string)
	text := ""
	if given {
		encoded, err := json.Marshal(request)
		if err != nil {
			return true, fmt.Errorf("tell who asks: %w", err)
		}
		text = string(encoded)
	}
	if text == told {
		return true, nil
	}
	// Of a statement that fails it is not known what the session was told.
	if _, err := conn.Exec(ctx, "SELECT set_config($1, $2, false)", asked, text); err != nil {
		if conn.IsClosed() && ctx.Err() == nil {
			return false, nil // its server is gone; another one may do
		}
		return false, fmt.Errorf("tell who asks: %w", err)
	}
	conn.PgConn().CustomData()[asked] = text
	return true, nil
}
