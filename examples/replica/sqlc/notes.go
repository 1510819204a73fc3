// Package sqlc is the example with the code that sqlc generates, as it comes.
package sqlc

import (
	"context"

	"casq/examples/replica/sqlc/notes"
)

//go:generate go -C ../../../tools tool sqlc generate -f ../examples/replica/sqlc/sqlc.yaml

// Run adds a note and reads it.
func Run(ctx context.Context, db notes.DBTX, text string) (string, error) {
	queries := notes.New(db)
	id, err := queries.AddNote(ctx, text)
	if err != nil {
		return "", err
	}
	return queries.GetNote(ctx, id)
}
