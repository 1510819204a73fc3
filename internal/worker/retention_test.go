package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"casq/internal/cursor"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// second starts a worker of a second site, which follows b's log and reports to
// it, and returns its database and where it listens.
func (b *testBundle) second(t *testing.T, sourceURL string) (home *testdb.DB, addr string) {
	t.Helper()
	home = testdb.New(t)
	log := &testLog{t: t}
	cfg := Config{
		HomeURL: workerURL(t, home), SourceURL: sourceURL, ReportURL: sourceURL, ArtifactSource: b.source, ArtifactTarget: t.TempDir(),
		ClaimTTL: 3 * time.Second, CursorWait: 100 * time.Millisecond, HTTPAddr: "127.0.0.1:0",
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	listening := regexp.MustCompile(`msg=listening.* addr=(\S+)`)
	b.until(t, "", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		found := listening.FindStringSubmatch(log.said.String())
		if found != nil {
			addr = found[1]
		}
		return found != nil
	})
	return home, addr
}

func TestReportsItsStoredPosition(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.put(t, "a", "a")
	home, _ := b.second(t, b.url)
	pool := home.Pool(t)
	var name string
	var tick, stored int64
	b.until(t, "", func() bool {
		err := b.pool.QueryRow(t.Context(), "SELECT name, tick FROM casq.followers").Scan(&name, &tick)
		return err == nil
	})
	if err := pool.QueryRow(t.Context(), "SELECT tick FROM casq.cursors").Scan(&stored); err != nil || tick > stored || !strings.HasSuffix(name, "/"+home.Name) {
		t.Errorf("reports tick %d as %s, stored is %d; %v", tick, name, stored, err)
	}
}

// A site that was pointed to another cluster is not ready, says what to run, and
// goes on when that was run.
func TestRefusesAForeignLogUntilItsCursorIsReset(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.put(t, "a", "a")
	home, addr := b.second(t, b.url)
	pool := home.Pool(t)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ready := func() (status int, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/readyz", addr), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	b.until(t, "a", func() bool { status, _ := ready(); return status == http.StatusOK })
	b.until(t, "a", func() bool {
		var synced bool
		err := pool.QueryRow(t.Context(), "SELECT status = 'synced' FROM casq.registry_status").Scan(&synced)
		return err == nil && synced
	})
	if _, err := pool.Exec(t.Context(), "UPDATE casq.cursors SET system_identifier = 1, epoch = epoch + 1"); err != nil {
		t.Fatal(err)
	}
	b.put(t, "b", "b")
	b.until(t, "b", func() bool {
		status, body := ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "enqueue cursor reset registry")
	})
	if _, err := cursor.StartOver(t.Context(), pool, b.pool, "registry", &registry.Transposer{}); err != nil {
		t.Fatal(err)
	}
	b.put(t, "c", "c")
	b.until(t, "c", func() bool {
		status, _ := ready()
		var there bool
		err := pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM casq.registry WHERE resource_id = 'c')").Scan(&there)
		return err == nil && there && status == http.StatusOK
	})
}
