package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A server that answers is not one that cannot be reached.
func TestProblem(t *testing.T) {
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
		if got := problem(test.err); !strings.Contains(got, test.want) {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}

// A role that lacks a right learns what to have granted; what has a hint of its own
// keeps it, and what is no lack of a grant has none.
func TestExplainSaysWhatToGrant(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  *pgconn.PgError
		want string
		not  string
	}{
		{&pgconn.PgError{Code: "42501", Message: "permission denied for function resources", Routine: "aclcheck_error"}, "SELECT casq.grant_to('role', 'follower')", ""},
		{&pgconn.PgError{Code: "42501", Message: "permission denied for schema casq", Routine: "aclcheck_error", Hint: "Ask somebody."}, "; HINT: Ask somebody.", "grant_to"},
		{&pgconn.PgError{Code: "42501", Message: "must be owner of function resources", Routine: "aclcheck_error"}, "must be owner", "HINT"},
		{&pgconn.PgError{Code: "42501", Message: "keine Berechtigung für Schema casq", Routine: "aclcheck_error"}, "SELECT casq.grant_to(", ""},
		{&pgconn.PgError{Code: "42501", Message: "permission denied to set parameter", Routine: "set_config_option"}, "to set", "HINT"},
	} {
		got := Explain(fmt.Errorf("list resources: %w", test.err))
		if !strings.Contains(got, test.want) || test.not != "" && strings.Contains(got, test.not) {
			t.Errorf("%s: %q; want %q in it, and not %q", test.err.Message, got, test.want, test.not)
		}
	}
}

// What a statement was about is refused again; what the server, the connection or the
// caller has had enough of may pass.
func TestRefused(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return fmt.Errorf("list resources: %w", &pgconn.PgError{Code: code}) }
	for _, test := range []struct {
		err  error
		want bool
	}{
		{pg("42P01"), true},  // no such table
		{pg("22P02"), true},  // bad text
		{pg("57014"), true},  // statement_timeout
		{pg("25P03"), true},  // idle_in_transaction_session_timeout
		{pg("25P04"), true},  // transaction_timeout
		{pg("25006"), false}, // READ ONLY
		{pg("40001"), false},
		{pg("53300"), false},
		{pg("57P01"), false},
		{pg("08006"), false},
		{errors.Join(context.Canceled, pg("57014")), false},
		{errors.Join(context.DeadlineExceeded, pg("57014")), false},
		{errors.New("broken pipe"), false},
	} {
		if got := Refused(test.err); got != test.want {
			t.Errorf("%v: %t, want %t", test.err, got, test.want)
		}
	}
}
