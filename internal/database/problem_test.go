package database

import (
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
