// Package bun is the example with bun.
package bun

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

type note struct {
	bun.BaseModel `bun:"notes"`

	ID   int64 `bun:",pk,autoincrement"`
	Text string
}

// Run adds a note and reads it.
func Run(ctx context.Context, conn *sql.DB, text string) (string, error) {
	db := bun.NewDB(conn, pgdialect.New())
	added := note{Text: text}
	if _, err := db.NewInsert().Model(&added).Exec(ctx); err != nil {
		return "", err
	}
	got := note{ID: added.ID}
	err := db.NewSelect().Model(&got).WherePK().Scan(ctx)
	return got.Text, err
}
