package database

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A server that answers is not one that cannot be reached.
func TestTrouble(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{&pgconn.PgError{Code: "28P01"}, "refuses the login"},
		{&pgconn.PgError{Code: "28000"}, "refuses the login"},
		{&pgconn.PgError{Code: "3D000"}, "no such database"},
		{&pgconn.PgError{Code: "57P03"}, "does not take connections"},
		{errors.New("connection refused"), "not reachable"},
	} {
		if got := trouble(test.err); !strings.Contains(got, test.want) {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
