package servers

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"casq/internal/testing/long"
)

func TestKilledPostgresStartsAgainWithItsData(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, tcp := range []bool{false, true} {
		p := startPostgres(t, PostgresOptions{TCP: tcp})
		url, pid := p.URL("postgres"), p.process.pid
		must(t, p.Exec(t.Context(), "CREATE TABLE t AS SELECT 7 AS i"))
		children, err := childrenOf(pid)
		must(t, err)
		if len(children) < 4 {
			t.Fatalf("postgres has the children %v, want at least four: the test looks at the wrong process", children)
		}
		must(t, p.Kill())
		for _, pid := range append(children, pid) {
			if _, state := parentOf(pid); state != 0 && state != 'Z' {
				t.Errorf("process %d is in state %c after Kill", pid, state)
			}
		}
		if _, err := pgx.Connect(brief(t), url); err == nil {
			t.Fatal("the killed server accepts connections")
		}
		must(t, p.Kill())
		must(t, p.Start(limit(t)))
		if p.URL("postgres") != url {
			t.Errorf("the server moved from %s to %s", url, p.URL("postgres"))
		}
		if got := value[int](t, url, "SELECT i FROM t"); got != 7 {
			t.Errorf("got %d, want what was committed before the kill", got)
		}
	}
}

func TestStopKindsKeepCommittedData(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Durable: true})
	if got := value[string](t, p.URL("postgres"), "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s on a durable server", got)
	}
	must(t, p.Exec(t.Context(), "CREATE TABLE t (i int)"))
	for i, stop := range []func(context.Context) error{p.StopImmediate, p.StopFast} {
		must(t, p.Exec(t.Context(), "INSERT INTO t VALUES (1)"))
		must(t, stop(limit(t)))
		must(t, p.Start(limit(t)))
		if got := value[int](t, p.URL("postgres"), "SELECT count(*) FROM t"); got != i+1 {
			t.Errorf("%d rows after stop %d, want %d", got, i, i+1)
		}
	}
	if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "is running") {
		t.Errorf("start a running server: %v", err)
	}
}

func TestFrozenPostgresAnswersNothingUntilThawed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := startPostgres(t, PostgresOptions{})
	conn := connect(t, p.URL("postgres"))
	must(t, p.Freeze())
	if err := p.Exec(brief(t), "SELECT 1"); err == nil {
		t.Error("the frozen server answers a new connection")
	}
	answer := make(chan error, 1)
	go func() {
		_, err := conn.Exec(limit(t), "SELECT 1")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Errorf("the frozen server answers an open connection: %v", err)
	case <-brief(t).Done():
	}
	must(t, p.Thaw())
	must(t, <-answer)
	must(t, p.Freeze()) // Stop and Kill work on a frozen server too.
	must(t, p.Kill())
	if err := p.Freeze(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("freeze a killed server: %v", err)
	}
	must(t, p.Start(limit(t)))
	must(t, p.Freeze())
}

func TestStoppedPostgresLeavesNothing(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for name, kill := range map[string]bool{"stopped": false, "killed": true} {
		p := startPostgres(t, PostgresOptions{})
		dir, pid := p.Dir(), p.process.pid
		segment := segmentOf(t, p)
		if kill {
			must(t, p.Kill())
		}
		must(t, p.Stop(limit(t)))
		must(t, p.Stop(limit(t)))
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: folder %s: %v", name, dir, err)
		}
		if _, state := parentOf(pid); state != 0 {
			t.Errorf("%s: process %d is in state %c", name, pid, state)
		}
		if segments := segments(t); strings.Contains(segments, segment) {
			t.Errorf("%s: segment %s is left in\n%s", name, segment, segments)
		}
		if err := p.Start(t.Context()); err == nil {
			t.Errorf("%s: start after Stop: no error", name)
		}
	}
}

// segmentOf returns a server's System V segment as /proc/sysvipc/shm writes it.
func segmentOf(t *testing.T, p *Postgres) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.place.data(), "postmaster.pid"))
	must(t, err)
	fields := strings.Fields(strings.Split(string(content), "\n")[6])
	key, err := strconv.ParseUint(fields[0], 10, 64)
	must(t, err)
	segment := strconv.FormatInt(int64(int32(key)), 10) + " "
	if !strings.Contains(segments(t), segment) {
		t.Fatalf("segment %s is not in\n%s", segment, segments(t))
	}
	return segment
}

func segments(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("/proc/sysvipc/shm")
	must(t, err)
	return string(content)
}

func TestPostgresStaysInItsFolder(t *testing.T) {
	long.Test(t)
	t.Parallel()
	options := PostgresOptions{Dir: filepath.Join(folder(t), strings.Repeat("long", 30)), TCP: true}
	p := startPostgres(t, options)
	url := p.URL("postgres")
	must(t, p.Exec(t.Context(), "CREATE TABLE t AS SELECT 7 AS i"))

	soon, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no more time"))
	if _, err := StartPostgres(soon, options); err == nil || !strings.Contains(err.Error(), "no more time") {
		t.Errorf("start a second server in the folder: %v", err)
	}
	must(t, p.Stop(limit(t)))
	again := startPostgres(t, options)
	if again.URL("postgres") != url {
		t.Errorf("the server moved from %s to %s", url, again.URL("postgres"))
	}
	if got := value[int](t, url, "SELECT i FROM t"); got != 7 {
		t.Errorf("got %d, want what was there before the stop", got)
	}
}

// pg_ctl restart is what somebody does who has changed a setting.
func TestStopEndsAServerThatWasRestartedByHand(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := startPostgres(t, PostgresOptions{Dir: folder(t)})
	pid := p.process.pid
	out, err := p.place.command(limit(t), p.binaries.path("pg_ctl"), "restart", "-w", "-D", p.place.data(), "-l", filepath.Join(p.place.data(), "by-hand.log")).CombinedOutput()
	if err != nil {
		t.Fatalf("restart it by hand: %v\n%s", err, out)
	}
	must(t, p.process.wait(limit(t)))
	by, err := serversIn(p.place.data())
	must(t, err)
	if len(by) != 1 || by[0] == pid {
		t.Fatalf("the folder's servers are %v, want one that is not %d", by, pid)
	}
	must(t, p.Stop(limit(t)))
	if left, err := serversIn(p.place.data()); err != nil || len(left) > 0 {
		t.Errorf("left running: %v, %v", left, err)
	}
}

func TestFolderOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	file := filepath.Join(dir, "letter")
	must(t, os.WriteFile(file, []byte("mine"), 0o600))
	if _, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "empty folder") {
		t.Errorf("start in a folder with a file: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	if _, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir + "/a\nb"}); err == nil {
		t.Error("a line break in the folder's name: no error")
	}
}

func TestUnreachableFolderIsNamed(t *testing.T) {
	t.Parallel()
	user, err := currentAccount()
	must(t, err)
	if !user.other {
		t.Skip("servers run as this user, who can enter his own folders")
	}
	closed := t.TempDir()
	must(t, os.Chmod(closed, 0o700))
	_, err = StartPostgres(t.Context(), PostgresOptions{Dir: filepath.Join(closed, "server")})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), filepath.Dir(closed)) {
		t.Errorf("start below %s: %v", closed, err)
	}
}

func TestStartErrorShowsTheLog(t *testing.T) {
	t.Parallel()
	_, err := StartPostgres(limit(t), PostgresOptions{Settings: map[string]string{"max_connections": "many"}})
	if !errors.Is(err, errExited) || !strings.Contains(err.Error(), `invalid value for parameter "max_connections"`) {
		t.Errorf("start with a bad setting: %v", err)
	}
}

func TestSettingsAreQuoted(t *testing.T) {
	t.Parallel()
	name := `it's a \ "name"`
	p := startPostgres(t, PostgresOptions{Settings: map[string]string{"cluster_name": name}})
	if got := value[string](t, p.URL("postgres"), "SHOW cluster_name"); got != name {
		t.Errorf("cluster_name is %s, want %s", got, name)
	}
}

func TestTakenPortIsReplaced(t *testing.T) {
	long.Test(t)
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	_, taken, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)

	// A server that had the port before comes back and finds it taken.
	dir := filepath.Join(folder(t), "server")
	p := startPostgres(t, PostgresOptions{Dir: dir, TCP: true})
	must(t, p.Stop(limit(t)))
	must(t, os.WriteFile(filepath.Join(dir, portFile), []byte(taken), 0o600))
	p = startPostgres(t, PostgresOptions{Dir: dir, TCP: true})
	if port := strconv.Itoa(p.port); port == taken {
		t.Errorf("the server says it listens on port %s, which is taken", taken)
	}
	if got := value[int](t, p.URL("postgres"), "SELECT 1"); got != 1 {
		t.Errorf("got %d", got)
	}
}

func TestTCPNeedsThePassword(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, PostgresOptions{TCP: true})
	if _, err := pgx.Connect(limit(t), strings.Replace(p.URL("postgres"), p.password, "guess", 1)); err == nil {
		t.Error("connected with a wrong password")
	}
	if got := value[string](t, p.URL("postgres"), "SELECT current_user"); got != "postgres" {
		t.Errorf("connected as %s", got)
	}
}

func TestRoleURLIsOfAnOrdinaryRole(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, tcp := range []bool{false, true} {
		p := startPostgres(t, PostgresOptions{TCP: tcp})
		url, err := p.RoleURL(limit(t), "worker of it", "postgres")
		must(t, err)
		again, err := p.RoleURL(limit(t), "worker of it", "postgres")
		must(t, err)
		if url != again {
			t.Errorf("the second URL is %s, the first %s", again, url)
		}
		got := value[string](t, url, "SELECT rolname || rolsuper || rolcreatedb FROM pg_roles WHERE rolname = current_user")
		if got != "worker of itfalsefalse" {
			t.Errorf("role is %s", got)
		}
	}
}

func TestSeveralAtOnceAreApart(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			p, err := StartPostgres(limit(t), PostgresOptions{TCP: true})
			if err != nil {
				t.Error(err)
				return
			}
			stopAtEnd(t, p)
			if err := p.Exec(t.Context(), "CREATE TABLE t"+strconv.Itoa(i)+" ()"); err != nil {
				t.Error(err)
			}
			err = p.query(t.Context(), func(conn *pgx.Conn) error {
				var tables int
				err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables)
				if tables != 1 {
					t.Errorf("server %d has %d tables", i, tables)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}
