package runner_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// A snapshot that is older than another build of the project does not show that there is no
// room for one more.
func TestARetryOfAnOldSnapshotKeepsTheLimit(t *testing.T) {
	t.Parallel()
	swept, hook := sweeps()
	b := newBench(t, runner.Options{SweepEvery: 50 * time.Millisecond, Hook: hook})
	b.exec("INSERT INTO casq.projects (id, max_running) VALUES (7, 1)")
	one, two := b.enqueue(), b.enqueue()
	b.exec("SELECT casq.cancel_build(id) FROM casq.builds")
	must(t, pgx.BeginTxFunc(t.Context(), b.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT FROM casq.builds")
		must(t, err)
		b.exec("SELECT casq.retry_build($1)", one)
		_, err = tx.Exec(t.Context(), "SELECT casq.retry_build($1)", two)
		return err
	}))
	if n := b.value("SELECT count(*) FROM casq.builds WHERE in_queue"); n != 1 {
		t.Errorf("%d builds are in the queue, of a project that may have one", n)
	}
	b.exec("SELECT casq.cancel_build($1)", one)
	b.until("the other is let in", swept, func() bool { return b.value("SELECT count(*) FROM casq.builds WHERE in_queue") == 1 })
}

// What a runner says is kept, or said to it again, up to a length.
func TestWhatARunnerSaysIsBounded(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Second})
	token := b.runner("linux")
	long := strings.Repeat("9", 100_000)
	ask := func(told string) answer {
		features := body{"trace_reset": true, strings.Repeat("x", 65): true}
		for i := range 10_000 {
			features[fmt.Sprintf("z%d", i)] = true
		}
		return b.do(http.MethodPost, "/api/v4/jobs/request", body{"token": token, "system_id": "s", "last_update": told, "info": body{"features": features}})
	}
	if told := ask(long).Told(); len(told) > 64 {
		t.Errorf("it is told an update of %d bytes", len(told))
	}
	id := b.enqueue("linux")
	if a := ask(""); a.Build() != id {
		t.Fatalf("got %s, want build %d", a, id)
	}
	if n := b.value("SELECT octet_length(features::text) FROM casq.builds WHERE features @> '{\"trace_reset\": true}'"); n > 4096 {
		t.Errorf("%d bytes of features are kept", n)
	}
}

// The token that a runner gets lasts as long as the one before was to.
func TestAResetTokenLastsAsLong(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner()
	reset := func() answer { return b.do("POST", runnersPath+"/reset_authentication_token", body{"token": token}) }
	a := reset()
	if a.Body["token_expires_at"] != nil {
		t.Errorf("one that never expires: %s", a)
	}
	token = a.Token()
	b.exec("UPDATE casq.runners SET token_created_at = now() - interval '20 days', token_expires_at = now() + interval '10 days'")
	a = reset()
	text, _ := a.Body["token_expires_at"].(string)
	expires, err := time.Parse(time.RFC3339, text)
	if err != nil || time.Until(expires) < 29*24*time.Hour || time.Until(expires) > 31*24*time.Hour {
		t.Errorf("of 30 days: %s", a)
	}
	var kept time.Time
	must(t, b.pool.QueryRow(t.Context(), "SELECT token_expires_at FROM casq.runners").Scan(&kept))
	if !kept.Equal(expires) {
		t.Errorf("it is told %v, and expires at %v", expires, kept)
	}
	token = a.Token()
	b.exec("UPDATE casq.runners SET token_expires_at = now()")
	b.enqueue()
	if a := b.request(token, ""); a.Status != http.StatusForbidden {
		t.Errorf("a token that has expired: %s", a)
	}
}

func TestWhyOfADeletedRunner(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id := b.enqueue()
	b.begin(b.runner())
	b.exec("DELETE FROM casq.runners")
	for _, then := range []string{"SELECT 1", "SELECT casq.cancel_build(id) FROM casq.builds"} {
		b.exec(then)
		var why string
		must(t, b.pool.QueryRow(t.Context(), "SELECT casq.why_build($1)", id).Scan(&why))
		if !strings.Contains(strings.ToLower(why), "a runner that was deleted since") {
			t.Errorf("why: %s", why)
		}
	}
}

// Who tries job tokens has to wait; builds that run at that address do not.
func TestTryingJobTokensIsLimited(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner()
	b.enqueue()
	running := b.request(token, "")
	for i := 0; ; i++ {
		a := b.c.Put(running.Build(), "glcbt-"+strconv.Itoa(i), "running")
		if a.Status == http.StatusTooManyRequests {
			if a.Header.Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
			break
		}
		if a.Status != http.StatusForbidden || i > 1000 {
			t.Fatalf("wrong token %d: %s", i, a)
		}
	}
	b.enqueue()
	for _, a := range []answer{running, b.request(token, "")} {
		if got := b.c.Put(a.Build(), a.Token(), "success"); got.Status != http.StatusOK {
			t.Errorf("a build at the same address: %s", got)
		}
	}
}

// A pick that fails is not made again at once by all that wait: none of them would fare
// better. It is by one after the other, every 100 ms.
func TestAFailedPickWakesNobodyElse(t *testing.T) {
	long.Test(t)
	t.Parallel()
	const requests = 60
	waiting := make(chan struct{}, requests)
	pool := testdb.New(t).Pool(t) // without ticks: there is one hint
	c := runnertest.New(t, pool, runner.Options{Hold: 3 * time.Second, MostOfRunner: requests, Hook: func(point string) {
		if point == "waiting" {
			waiting <- struct{}{}
		}
	}})
	_, err := pool.Exec(t.Context(), `CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
		CREATE TRIGGER fail BEFORE UPDATE ON casq.builds FOR EACH ROW WHEN (NEW.status = 'running') EXECUTE FUNCTION public.fail()`)
	must(t, err)
	token := runnertest.Runner(t, pool)
	var answers []<-chan answer
	for range requests {
		answers = append(answers, c.Ask(t.Context(), token, ""))
	}
	for range requests {
		<-waiting
	}
	runnertest.Enqueue(t, pool)
	failed := 0
	for _, a := range answers {
		if got := <-a; got.Status == http.StatusServiceUnavailable {
			failed++
		}
	}
	if failed == 0 || failed > requests*2/3 {
		t.Errorf("%d of %d requests have failed", failed, requests)
	}
}
