package replica_test

import (
	"errors"
	"slices"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// read reads the body of document a through the session's read door.
func read(t *testing.T, s *replica.Session) string {
	t.Helper()
	var body string
	if err := s.Read().QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil {
		t.Fatalf("%v\n%s", err, s.Explain())
	}
	return body
}

func write(t *testing.T, s *replica.Session, body string) {
	t.Helper()
	_, err := s.Write().Exec(t.Context(), "INSERT INTO documents VALUES ('a', $1) ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body", body)
	if err != nil {
		t.Fatal(err)
	}
}

func wantReason(t *testing.T, s *replica.Session, want ...replica.Reason) {
	t.Helper()
	if got := replicatest.Last(t, s); !slices.Contains(want, got.Reason) {
		t.Errorf("chose %s, want %v", got, want)
	}
}

// standbyServes returns an error until a standby serves the session.
func standbyServes(t *testing.T, s *replica.Session, want string) error {
	t.Helper()
	if got := read(t, s); got != want {
		t.Fatalf("read %q, want %q\n%s", got, want, s.Explain())
	}
	if got := replicatest.Last(t, s); !got.Reason.Standby() {
		return errors.New(got.String())
	}
	return nil
}
