// Package pgx is the example with pgx alone.
package pgx

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// DB is a pool, or a replica.DB.
type DB interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Run adds a note and reads it.
func Run(ctx context.Context, db DB, text string) (got string, err error) {
	var id int64
	if err := db.QueryRow(ctx, "INSERT INTO notes (text) VALUES ($1) RETURNING id", text).Scan(&id); err != nil {
		return "", err
	}
	err = db.QueryRow(ctx, "SELECT text FROM notes WHERE id = $1", id).Scan(&got)
	return got, err
}
