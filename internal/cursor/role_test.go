package cursor

import (
	"fmt"
	"testing"

	"casq/internal/testing/testdb"
)

// A login whose sessions set another role: what they may do is the role's, and they
// are the login's, which hides them from the role. A holder before, which may be frozen
// in the middle of COPY, is ended all the same.
func TestTheHolderBeforeIsEndedWhereALoginSetsARole(t *testing.T) {
	t.Parallel()
	testdb.NeedsSuperuser(t)
	db := testdb.New(t)
	b := newBundle(t, db.URL)
	login, owner := db.RoleURL(t), testdb.RoleName(t, db.RoleURL(t))
	b.exec(t, `GRANT USAGE ON SCHEMA casq TO `+owner+`; GRANT ALL ON ALL TABLES IN SCHEMA casq TO `+owner)
	b.exec(t, `GRANT `+owner+` TO `+testdb.RoleName(t, login)+`; ALTER ROLE `+testdb.RoleName(t, login)+` SET role = `+owner)
	b.tick(t)
	as := &testBundle{url: login, pool: b.pool}
	var pid int
	for turn := range 2 {
		h, err := New(as.config(t)).hold(t.Context(), nil, anyEpoch)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.release(t.Context(), nil) })
		if turn == 0 {
			pid = int(h.conn.Conn().PgConn().PID())
		}
	}
	b.until(t, fmt.Sprintf("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %d)", pid))
}
