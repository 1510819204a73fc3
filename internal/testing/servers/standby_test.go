package servers

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"casq/internal/testing/long"
)

const countRows = "SELECT count(*) FROM t"

func insert(t *testing.T, p *Postgres) {
	t.Helper()
	must(t, p.Exec(limit(t), "INSERT INTO t VALUES (1)"))
}

// pair starts a primary with a table and a standby.
func pair(t *testing.T, options StandbyOptions) (primary, standby *Postgres) {
	t.Helper()
	p := startPostgres(t, PostgresOptions{})
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	s := startStandby(t, p, options)
	must(t, s.WaitReplayed(limit(t), p))
	return p, s
}

func TestPrimaryAndStandbyAreUpSoon(t *testing.T) {
	long.Test(t)
	t.Parallel()
	began := time.Now()
	p := startPostgres(t, PostgresOptions{})
	primary := time.Since(began)
	s := startStandby(t, p, StandbyOptions{})
	both := time.Since(began)
	t.Logf("primary up after %v, with its standby after %v", primary, both)
	if both > 20*time.Second {
		t.Errorf("a primary and a standby took %v, want about 3 s on an idle machine", both)
	}
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	insert(t, p)
	must(t, s.WaitReplayed(limit(t), p))
	if got := value[int](t, s.URL("postgres"), countRows); got != 1 {
		t.Errorf("the standby shows %d rows after WaitReplayed", got)
	}
}

func TestPausedStandbyShowsTheOldState(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{TCP: true})
	must(t, s.PauseReplay(limit(t)))
	insert(t, p)
	if err := s.WaitReplayed(brief(t), p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait for a paused standby: %v", err)
	}
	if got := value[int](t, s.URL("postgres"), countRows); got != 0 {
		t.Errorf("the paused standby shows %d rows", got)
	}
	must(t, s.ResumeReplay(limit(t)))
	must(t, s.WaitReplayed(limit(t), p))
	if got := value[int](t, s.URL("postgres"), countRows); got != 1 {
		t.Errorf("the resumed standby shows %d rows", got)
	}
}

func TestApplyDelayHoldsCommitsBack(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{})
	must(t, s.SetApplyDelay(limit(t), time.Hour))
	insert(t, p)
	if err := s.WaitReplayed(brief(t), p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait for a delayed standby: %v", err)
	}
	must(t, s.SetApplyDelay(limit(t), 0))
	must(t, s.WaitReplayed(limit(t), p))
	if got := value[int](t, s.URL("postgres"), countRows); got != 1 {
		t.Errorf("the standby shows %d rows without delay", got)
	}
}

func TestPromotedStandbyIsAPrimaryOfItsOwn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{})
	other := startStandby(t, p, StandbyOptions{ApplicationName: "other-1"})
	must(t, other.WaitReplayed(limit(t), p))
	// What the standby has not received is lost.
	must(t, s.Freeze())
	must(t, other.Freeze())
	insert(t, p)
	must(t, p.Kill())
	must(t, s.Thaw())
	must(t, other.Thaw())
	must(t, s.Promote(limit(t)))
	if got := value[int](t, s.URL("postgres"), countRows); got > 1 {
		t.Errorf("the promoted server shows %d rows", got)
	}
	insert(t, s)
	timeline := value[string](t, s.URL("postgres"), "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
	if timeline != "00000002" {
		t.Errorf("timeline is %s after a promotion", timeline)
	}
	want := value[int](t, s.URL("postgres"), countRows)
	must(t, p.Start(limit(t)))
	insert(t, p)
	if got := value[int](t, s.URL("postgres"), countRows); got != want {
		t.Errorf("the promoted server has %d rows after a write to the former primary, want %d", got, want)
	}
}

func TestStandbyFollowsThePromotedOne(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{})
	other := startStandby(t, p, StandbyOptions{ApplicationName: "other-1"})
	must(t, other.WaitReplayed(limit(t), p))
	must(t, p.Kill())
	must(t, s.Promote(limit(t)))
	must(t, other.Follow(limit(t), s))
	insert(t, s)
	must(t, other.WaitReplayed(limit(t), s))
	if got := value[int](t, other.URL("postgres"), countRows); got != 1 {
		t.Errorf("the other standby shows %d rows of the promoted one", got)
	}
}

func TestSynchronousCommitWaitsForItsStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{ApplicationName: "Sync-1", Synchronous: true})
	insert(t, p)
	state := value[string](t, p.URL("postgres"), "SELECT sync_state FROM pg_stat_replication")
	if state != "sync" {
		t.Errorf("the standby's sync_state is %s", state)
	}
	must(t, s.Kill())
	for round := range 3 {
		must(t, p.SetSynchronous(limit(t)))
		must(t, p.Exec(limit(t), "INSERT INTO t VALUES (1)"))
		must(t, p.SetSynchronous(limit(t), "Sync-1"))
		if err := p.Exec(brief(t), "INSERT INTO t VALUES (1)"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("round %d: commit without the synchronous standby: %v", round, err)
		}
	}
	must(t, s.Start(limit(t)))
	insert(t, p)
}

// Whether commits wait is decided by a flag that the checkpointer sets when it
// reads its configuration, and it may be late.
func TestSetSynchronousWaitsForTheCheckpointer(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	checkpointer := value[int](t, p.URL("postgres"), "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
	must(t, syscall.Kill(checkpointer, syscall.SIGSTOP))
	must(t, waitStopped(limit(t), checkpointer))

	// The naive way: new connections have the setting, and do not obey it.
	must(t, p.Reload(limit(t), map[string]string{"synchronous_standby_names": "nobody"}))
	insert(t, p)

	if err := p.SetSynchronous(brief(t), "nobody"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("set synchronous standbys without a checkpointer: %v", err)
	}
	must(t, syscall.Kill(checkpointer, syscall.SIGCONT))
	must(t, p.SetSynchronous(limit(t), "nobody"))
	if err := p.Exec(brief(t), "INSERT INTO t VALUES (1)"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("commit without the synchronous standby: %v", err)
	}
}

func TestKilledStandbyCatchesUp(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{})
	must(t, s.Kill())
	insert(t, p)
	must(t, p.Kill())
	must(t, p.Start(limit(t)))
	insert(t, p)
	must(t, s.Start(limit(t)))
	must(t, s.WaitReplayed(limit(t), p))
	if got := value[int](t, s.URL("postgres"), countRows); got != 2 {
		t.Errorf("the standby shows %d rows", got)
	}
}

func TestStandbyStaysInItsFolder(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := folder(t)
	primary := PostgresOptions{Dir: filepath.Join(dir, "primary")}
	standby := StandbyOptions{Dir: filepath.Join(dir, "standby"), ApplicationName: "kept"}
	p := startPostgres(t, primary)
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	s := startStandby(t, p, standby)
	must(t, s.Stop(limit(t)))
	insert(t, p)
	must(t, p.Stop(limit(t)))

	p = startPostgres(t, primary)
	s = startStandby(t, p, standby)
	must(t, s.WaitReplayed(limit(t), p))
	if got := value[int](t, s.URL("postgres"), countRows); got != 1 {
		t.Errorf("the standby shows %d rows", got)
	}
	must(t, s.Promote(limit(t)))
	must(t, s.Stop(limit(t)))
	if _, err := p.Standby(limit(t), standby); err == nil || !strings.Contains(err.Error(), "was promoted") {
		t.Errorf("take up a promoted standby: %v", err)
	}
}

// At the start of a page pg_current_wal_insert_lsn() lies behind the page's
// header and pg_last_wal_replay_lsn() before it, for as long as nothing more is
// written.
func TestWaitReplayedAtTheStartOfAPage(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p, s := pair(t, StandbyOptions{})
	conn := connect(t, p.URL("postgres"))
	inserted := fillPage(t, conn)
	if inserted%walPage != walPageHeader {
		t.Fatalf("the next record goes to byte %d of a page, want %d", inserted%walPage, walPageHeader)
	}
	must(t, s.WaitReplayed(limit(t), p))
	var now uint64
	must(t, conn.QueryRow(t.Context(), insertLSN).Scan(&now))
	if now != inserted {
		t.Skipf("the primary has written from %X to %X meanwhile, so the page's start was not waited for", inserted, now)
	}
	replayed := value[uint64](t, s.URL("postgres"), "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint")
	if replayed >= inserted {
		t.Errorf("replayed %X is not before the next record's place %X: the trap is gone", replayed, inserted)
	}
}

const insertLSN = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"

// fillPage commits messages until the last record ends with its page. What a
// message takes besides its text is found by the message before.
func fillPage(t *testing.T, conn *pgx.Conn) (inserted uint64) {
	t.Helper()
	overhead := uint64(100)
	for range 100 {
		var before, after uint64
		must(t, conn.QueryRow(t.Context(), insertLSN).Scan(&before))
		free := walPage - before%walPage
		if free < 1000 {
			free += walPage - walPageHeader
		}
		_, err := conn.Exec(t.Context(), "SELECT pg_logical_emit_message(true, 'casq', repeat('x', $1))", int(free-overhead))
		must(t, err)
		must(t, conn.QueryRow(t.Context(), insertLSN).Scan(&after))
		if after%walPage == walPageHeader {
			return after
		}
		overhead += after - before - free
		if overhead > 1000 { // Something else wrote, or the end is on another page.
			overhead = 100
		}
	}
	return 0
}

func TestReloadOfAStartSettingIsAnError(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	must(t, p.Reload(limit(t), map[string]string{"work_mem": "5MB"}))
	if got := value[string](t, p.URL("postgres"), "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s after a reload", got)
	}
	err := p.Reload(limit(t), map[string]string{"max_connections": "77"})
	if err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("reload max_connections: %v", err)
	}
	must(t, p.Kill())
	must(t, p.Start(limit(t)))
	if got := value[string](t, p.URL("postgres"), "SHOW max_connections"); got != "77" {
		t.Errorf("max_connections is %s after a start", got)
	}
	for _, wrong := range []map[string]string{{"no_such": "1"}, {"work_mem": "much"}} {
		if err := p.Reload(limit(t), wrong); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reload %v: %v", wrong, err)
		}
	}
	must(t, p.Kill())
	must(t, p.Start(limit(t)))
	if got := value[string](t, p.URL("postgres"), "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s after a wrong reload and a start", got)
	}
}
