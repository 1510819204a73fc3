package replica

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows are those of a connection that is given back when they end, with their
// first row read already.
type rows struct {
	pgx.Rows
	// pending says that the first call of Next was made already, and returned has.
	pending, has bool
	// end gives the connection back, once, and returns what went wrong with it.
	end func(error) error
	err error
	// columns outlive the connection, where pgx has them.
	columns []pgconn.FieldDescription
	// single says that the caller has no way to ask for them.
	single bool
}

// first reads the first row of inner. Without one because of an error, that error
// is returned, after end.
func first(inner pgx.Rows, end func(error) error) (pgx.Rows, error) {
	r := &rows{Rows: inner, end: end}
	r.has = inner.Next()
	r.pending = true
	if err := inner.Err(); err != nil {
		r.finish()
		return nil, r.Err()
	}
	return r, nil
}

func (r *rows) finish() {
	if r.end == nil {
		return
	}
	r.Rows.Close()
	if !r.single {
		r.columns = slices.Clone(r.Rows.FieldDescriptions())
	}
	end := r.end
	r.end = nil
	r.err = end(r.Rows.Err())
}

func (r *rows) FieldDescriptions() []pgconn.FieldDescription {
	if r.end == nil {
		return r.columns
	}
	return r.Rows.FieldDescriptions()
}

func (r *rows) Next() bool {
	if r.pending {
		r.pending = false
		if !r.has {
			r.finish()
		}
		return r.has
	}
	if r.end == nil {
		return false
	}
	if r.Rows.Next() {
		return true
	}
	r.finish()
	return false
}

func (r *rows) Close() {
	r.has = false
	r.finish()
}

func (r *rows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// row is the first of rows, as pgx's QueryRow has it.
type row struct {
	rows pgx.Rows
	err  error
}

func rowOf(result pgx.Rows, err error) pgx.Row {
	if r, ours := result.(*rows); ours {
		r.single = true
	}
	return row{result, err}
}

func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	for _, d := range dest {
		if _, borrowed := d.(*pgtype.DriverBytes); borrowed {
			return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
		}
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// failedRows are what pgx returns beside an error.
func failedRows(err error) (pgx.Rows, error) {
	return pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
}
