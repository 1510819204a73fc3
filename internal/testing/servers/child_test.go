package servers

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"casq/internal/testing/long"
)

// childVariable makes the test binary start servers, say where they are, and
// wait to be killed. Its value is a folder for the one that stays.
const childVariable = "CASQ_TEST_SERVERS_CHILD"

func runChild() int {
	if err := child(os.Getenv(childVariable)); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

// child starts what is hardest to end: a server that is frozen, and one with a
// query that never looks whether its postmaster lives.
func child(dir string) error {
	ctx := context.Background()
	busy, err := StartPostgres(ctx, PostgresOptions{Dir: dir})
	if err != nil {
		return err
	}
	frozen, err := StartPostgres(ctx, PostgresOptions{})
	if err != nil {
		return err
	}
	redis, err := StartRedis(ctx, RedisOptions{})
	if err != nil {
		return err
	}
	if err := busy.Exec(ctx, "CREATE TABLE IF NOT EXISTS t AS SELECT 7 AS i"); err != nil {
		return err
	}
	go func() { _ = busy.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1e15)") }()
	err = busy.wait(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%1e15%' AND state = 'active' AND pid <> pg_backend_pid())")
	if err != nil {
		return err
	}
	if err := frozen.Freeze(); err != nil {
		return err
	}
	fmt.Println("up", current.watchdog.cmd.Process.Pid, busy.place.watchdog.cmd.Process.Pid,
		current.dir, frozen.place.data(), redis.place.data())
	select {}
}

// orphanage is a child that is up.
type orphanage struct {
	cmd                *exec.Cmd
	runWatch, dirWatch int
	dir, run           string
	data               []string
}

func startChild(t *testing.T, dir string) *orphanage {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	o := &orphanage{cmd: exec.CommandContext(limit(t), self), dir: dir}
	o.cmd.Env = append(o.cmd.Environ(), childVariable+"="+dir)
	o.cmd.Stderr = os.Stderr
	out, err := o.cmd.StdoutPipe()
	must(t, err)
	must(t, o.cmd.Start())
	t.Cleanup(func() { o.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	var frozen, redis string
	if _, scanErr := fmt.Sscan(line, new(string), &o.runWatch, &o.dirWatch, &o.run, &frozen, &redis); scanErr != nil {
		t.Fatalf("start the child: %q, %v, %v", line, err, scanErr)
	}
	o.data = []string{filepath.Join(dir, "data"), frozen, redis}
	for _, data := range o.data {
		if len(workingIn(t, data)) == 0 {
			t.Fatalf("nothing works in %s, so its end would not be seen", data)
		}
	}
	return o
}

// kill kills the child, and its watchdogs before it when they are to fail.
func (o *orphanage) kill(t *testing.T, watchdogs bool) {
	t.Helper()
	if watchdogs {
		must(t, syscall.Kill(o.runWatch, syscall.SIGKILL))
		must(t, syscall.Kill(o.dirWatch, syscall.SIGKILL))
	}
	must(t, o.cmd.Process.Kill())
	_ = o.cmd.Wait() // It says that the child was killed.
}

// left describes what is left of the child's servers.
func (o *orphanage) left(t *testing.T) string {
	t.Helper()
	var left []string
	for _, data := range o.data {
		if pids := workingIn(t, data); len(pids) > 0 {
			left = append(left, fmt.Sprintf("processes %v in %s", pids, data))
		}
	}
	if _, err := os.Stat(o.run); err == nil {
		left = append(left, "folder "+o.run)
	}
	return strings.Join(left, ", ")
}

// workingIn lists the processes in a folder, also those whose folder is gone. It
// looks as the servers' user, as root in a container may not.
func workingIn(t *testing.T, dir string) (processes []string) {
	t.Helper()
	user, err := currentAccount()
	must(t, err)
	cmd := exec.CommandContext(limit(t), "sh", "-c", "find /proc/[0-9]*/cwd -maxdepth 0 -printf '%h %l\\n' 2>/dev/null")
	cmd.SysProcAttr = user.attributes()
	out, _ := cmd.Output() // It ends with an error as it may not look at all.
	for line := range strings.Lines(string(out)) {
		process, cwd, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.TrimSuffix(cwd, " (deleted)") == dir {
			processes = append(processes, process)
		}
	}
	return processes
}

func TestNothingIsLeftOfAKilledProcess(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := filepath.Join(folder(t), "kept")
	o := startChild(t, dir)
	killed := time.Now()
	o.kill(t, false)
	if err := poll(limit(t), func() (bool, error) { return o.left(t) == "", nil }); err != nil {
		t.Fatalf("left of a process that got SIGKILL: %s", o.left(t))
	}
	t.Logf("nothing left after %v", time.Since(killed))
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if got := value[int](t, p.URL("postgres"), "SELECT i FROM t"); got != 7 {
		t.Errorf("got %d from the folder that stays", got)
	}
}

// A new process may come before the watchdog of the killed one is done.
func TestFolderOfAKilledProcessIsTakenUpAtOnce(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := filepath.Join(folder(t), "kept")
	o := startChild(t, dir)
	o.kill(t, false)
	p := startPostgres(t, PostgresOptions{Dir: dir})
	if err := poll(limit(t), func() (bool, error) {
		return o.left(t) == "processes "+fmt.Sprint(workingIn(t, p.place.data()))+" in "+p.place.data(), nil
	}); err != nil {
		t.Fatalf("left besides the new server: %s", o.left(t))
	}
	if got := value[int](t, p.URL("postgres"), "SELECT i FROM t"); got != 7 {
		t.Errorf("got %d from the folder that stays", got)
	}
}

func TestNextRunCleansWhatWatchdogsDidNot(t *testing.T) {
	long.Test(t)
	t.Parallel()
	dir := filepath.Join(folder(t), "kept")
	var o *orphanage
	left := ""
	// The tests of another package may start a server just now, which cleans up
	// before it can be seen what was left: then once more.
	for try := 0; strings.Count(left, "processes") != 3 || !strings.Contains(left, "folder"); try++ {
		if try == 5 {
			t.Fatalf("left without watchdogs: %s: want all, or the test shows nothing", left)
		}
		o = startChild(t, dir)
		o.kill(t, true)
		left = o.left(t)
	}
	next := startChild(t, dir)
	defer next.kill(t, false)
	o.data = o.data[1:] // The next one's server works there.
	if left := o.left(t); left != "" {
		t.Errorf("left after the next start: %s", left)
	}
	conn, err := pgx.Connect(limit(t), "postgres://postgres@/postgres?host="+dir)
	must(t, err)
	defer conn.Close(context.Background())
	var got int
	must(t, conn.QueryRow(limit(t), "SELECT i FROM t").Scan(&got))
	if got != 7 {
		t.Errorf("got %d from the folder that stays", got)
	}
}
