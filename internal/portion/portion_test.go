package portion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

var errCancelled = &pgconn.PgError{Code: "57014"}

func TestPortion(t *testing.T) {
	t.Parallel()
	p := New(Size{Rows: 100, Bytes: 1 << 20})
	for want, n := 50, 0; want >= 1; want, n = want/2, n+1 {
		if !p.Did(errCancelled) || p.Size().Rows != want || p.Size().Bytes != 1<<19>>n {
			t.Fatalf("%+v, want %d rows", p.Size(), want)
		}
	}
	if p.Did(errCancelled) || p.Size().Rows != 1 {
		t.Errorf("one row was too much, and so %+v is tried", p.Size())
	}
	for range enough - 1 {
		p.Did(nil)
	}
	p.Did(errors.New("something else"))
	if p.Size().Rows != 1 {
		t.Error("it has grown too soon")
	}
	p.Did(nil)
	if p.Size().Rows != 3 {
		t.Errorf("%+v, want 3 rows", p.Size())
	}
	for range 10 * enough {
		p.Did(nil)
	}
	if want := (Size{Rows: 100, Bytes: 1 << 20}); p.Size() != want {
		t.Errorf("%+v, want %+v", p.Size(), want)
	}
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errCancelled, &pgconn.PgError{Code: "25P03"}, &pgconn.PgError{Code: "54000"}, &pgconn.PgError{Code: "08006"},
		&net.OpError{Op: "write", Err: os.NewSyscallError("write", errors.New("broken pipe"))}, io.ErrUnexpectedEOF, net.ErrClosed,
	} {
		if err := fmt.Errorf("apply: %w", err); !TooMuch(err) {
			t.Errorf("%v is no reason", err)
		}
	}
	for _, err := range []error{
		nil, context.Canceled, errors.New("panic"), &pgconn.PgError{Code: "23505"}, &pgconn.PgError{Code: "57P01"}, &pgconn.PgError{Code: "42P01"},
	} {
		if TooMuch(err) {
			t.Errorf("%v is a reason", err)
		}
	}
}
