// Package replica shows one small program with pgx, sqlc, GORM, bun and ent, each of
// them without package casq/replica and with it.
//
// The programs themselves, in the folders, are the same in both cases. What differs
// are the lines that [Without] and [With] do not have in common: the standbys, the
// session in the context, and, for what stands on database/sql, how that is opened.
package replica

import (
	"context"
	"database/sql"

	"casq/examples/replica/bun"
	"casq/examples/replica/ent"
	"casq/examples/replica/gorm"
	"casq/examples/replica/pgx"
	"casq/examples/replica/sqlc"
	"casq/examples/replica/sqlc/notes"
	"casq/replica"
	"casq/replica/sqldb"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// Door is a pool, or a replica.DB.
type Door interface {
	pgx.DB
	notes.DBTX
}

// On are the programs that stand on pgx, OnSQL those on database/sql.
var (
	On = map[string]func(context.Context, Door, string) (string, error){
		"pgx":  func(ctx context.Context, db Door, text string) (string, error) { return pgx.Run(ctx, db, text) },
		"sqlc": func(ctx context.Context, db Door, text string) (string, error) { return sqlc.Run(ctx, db, text) },
	}
	OnSQL = map[string]func(context.Context, *sql.DB, string) (string, error){
		"GORM": gorm.Run, "bun": bun.Run, "ent": ent.Run,
	}
)

// Without runs a program on the primary.
func Without(ctx context.Context, primary *pgxpool.Pool, name string) (string, error) {
	db := primary
	if run := On[name]; run != nil {
		return run(ctx, db, "hello")
	}
	conn := stdlib.OpenDBFromPool(db)
	defer conn.Close()
	return OnSQL[name](ctx, conn, "hello")
}

// With runs it on the primary and its standbys.
func With(ctx context.Context, replicas *replica.DB, name string) (string, error) {
	db := replicas
	ctx = replica.NewContext(ctx, db.Session())
	if run := On[name]; run != nil {
		return run(ctx, db, "hello")
	}
	conn := sql.OpenDB(sqldb.Connector(db))
	defer conn.Close()
	return OnSQL[name](ctx, conn, "hello")
}
