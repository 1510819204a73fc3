package sqldb

import (
	"database/sql/driver"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// formats are the types that come in binary, and as Go's own types. All others come
// as Postgres writes them, which is what the scanners of database/sql's world read.
var formats = pgx.QueryResultFormatsByOID{
	pgtype.BoolOID:        pgx.BinaryFormatCode,
	pgtype.ByteaOID:       pgx.BinaryFormatCode,
	pgtype.DateOID:        pgx.BinaryFormatCode,
	pgtype.Float4OID:      pgx.BinaryFormatCode,
	pgtype.Float8OID:      pgx.BinaryFormatCode,
	pgtype.Int2OID:        pgx.BinaryFormatCode,
	pgtype.Int4OID:        pgx.BinaryFormatCode,
	pgtype.Int8OID:        pgx.BinaryFormatCode,
	pgtype.OIDOID:         pgx.BinaryFormatCode,
	pgtype.TimestampOID:   pgx.BinaryFormatCode,
	pgtype.TimestamptzOID: pgx.BinaryFormatCode,
	pgtype.CIDOID:         pgx.BinaryFormatCode,
	pgtype.XIDOID:         pgx.BinaryFormatCode,
}

var (
	_ driver.RowsColumnTypeDatabaseTypeName = (*rows)(nil)
	_ driver.RowsColumnTypeLength           = (*rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*rows)(nil)
)

// rows are pgx's, with the values that database/sql knows.
type rows struct {
	inner   pgx.Rows
	types   *pgtype.Map
	columns []pgconn.FieldDescription
	// pending says that the first row was read already, and first whether there is one.
	pending, first bool
}

// firstRow reads the first row: only then are the columns known, and an error that
// comes before it is the statement's.
func firstRow(inner pgx.Rows) (*rows, error) {
	r := &rows{inner: inner, pending: true}
	r.first = inner.Next()
	if err := inner.Err(); err != nil {
		inner.Close()
		return nil, err
	}
	r.columns = append(r.columns, inner.FieldDescriptions()...)
	r.types = inner.Conn().TypeMap()
	return r, nil
}

func (r *rows) Columns() []string {
	names := make([]string, len(r.columns))
	for i := range r.columns {
		names[i] = r.columns[i].Name
	}
	return names
}

func (r *rows) Next(dest []driver.Value) error {
	more := r.first
	if !r.pending {
		more = r.inner.Next()
	}
	r.pending = false
	if !more {
		if err := r.inner.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	for i, raw := range r.inner.RawValues() {
		value, err := r.value(&r.columns[i], raw)
		if err != nil {
			return fmt.Errorf("read column %q: %w", r.columns[i].Name, err)
		}
		dest[i] = value
	}
	return nil
}

// value returns a copy: raw is the connection's buffer.
func (r *rows) value(column *pgconn.FieldDescription, raw []byte) (driver.Value, error) {
	if raw == nil {
		return nil, nil
	}
	if column.Format == pgx.TextFormatCode && !scanned(column.DataTypeOID) {
		return string(raw), nil
	}
	known, _ := r.types.TypeForOID(column.DataTypeOID)
	if known == nil {
		return nil, fmt.Errorf("type %d is not known, and came in binary", column.DataTypeOID)
	}
	return known.Codec.DecodeDatabaseSQLValue(r.types, column.DataTypeOID, column.Format, raw)
}

// scanned says whether values of a type are not text to database/sql, in whatever
// format they come: with some modes of execution all of them come as text.
func scanned(oid uint32) bool {
	_, binary := formats[oid]
	return binary || oid == pgtype.JSONOID || oid == pgtype.JSONBOID
}

func (r *rows) Close() error {
	r.inner.Close()
	return r.inner.Err()
}

func (r *rows) ColumnTypeDatabaseTypeName(index int) string {
	oid := r.columns[index].DataTypeOID
	if known, ok := r.types.TypeForOID(oid); ok {
		return strings.ToUpper(known.Name)
	}
	return strconv.FormatUint(uint64(oid), 10)
}

// header is what Postgres adds to the length in a type's modifier.
const header = 4

func (r *rows) ColumnTypeLength(index int) (int64, bool) {
	column := &r.columns[index]
	switch column.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		if column.TypeModifier < header {
			return math.MaxInt64, true
		}
		return int64(column.TypeModifier - header), true
	default:
		return 0, false
	}
}

func (r *rows) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	column := &r.columns[index]
	if column.DataTypeOID != pgtype.NumericOID || column.TypeModifier < header {
		return 0, 0, false
	}
	modifier := int64(column.TypeModifier - header)
	return modifier >> 16 & 0xffff, modifier & 0xffff, true
}

func (r *rows) ColumnTypeScanType(index int) reflect.Type {
	switch r.columns[index].DataTypeOID {
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int8OID:
		return reflect.TypeFor[int64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Float8OID, pgtype.NumericOID:
		return reflect.TypeFor[float64]()
	case pgtype.ByteaOID:
		return reflect.TypeFor[[]byte]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	default:
		return reflect.TypeFor[string]()
	}
}
