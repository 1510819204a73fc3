package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a statement is refused for says that the database is there: who was silent meanwhile
// was. So it may go on for ever, as a row that cannot be read does.
func TestOnlyADatabaseThatIsAwayMakesSilenceNotCount(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err  error
		away bool
	}{
		"a table is gone":            {&pgconn.PgError{Code: "42P01"}, false},
		"a deadlock":                 {&pgconn.PgError{Code: "40P01"}, false},
		"what came is no number":     {errors.New("cannot scan NULL into *int64"), false},
		"the server stops":           {&pgconn.PgError{Code: "57P01"}, true},
		"it has too many sessions":   {&pgconn.PgError{Code: "53300"}, true},
		"it is a standby by now":     {&pgconn.PgError{Code: "25006"}, true},
		"nobody listens":             {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		"the connection has ended":   {io.ErrUnexpectedEOF, true},
		"it does not answer in time": {context.DeadlineExceeded, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(nil, Options{Logger: slog.New(slog.DiscardHandler)})
			before := time.Now().Add(-time.Hour)
			c.contacts.since = before
			w := httptest.NewRecorder()
			c.fail(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/api/v4/jobs/1", nil), fmt.Errorf("end build 1: %w", row.err))
			if w.Code != http.StatusServiceUnavailable {
				t.Errorf("answered with %d", w.Code)
			}
			if away := !c.contacts.since.Equal(before); away != row.away {
				t.Errorf("silence counts anew: %t", away)
			}
		})
	}
}
