// Package ent is the example with ent.
package ent

import (
	"context"
	"database/sql"

	"casq/examples/replica/ent/ent"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// Run adds a note and reads it.
func Run(ctx context.Context, conn *sql.DB, text string) (string, error) {
	client := ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, conn)))
	added, err := client.Note.Create().SetText(text).Save(ctx)
	if err != nil {
		return "", err
	}
	got, err := client.Note.Get(ctx, added.ID)
	if err != nil {
		return "", err
	}
	return got.Text, nil
}
