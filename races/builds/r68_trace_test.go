package builds

import (
	"net/http"
	"strings"
	"testing"

	"casq/internal/testing/testdb"
	"casq/runner"
)

const naiveTraces = `CREATE TABLE traces (build bigint PRIMARY KEY, text bytea NOT NULL DEFAULT ''); INSERT INTO traces VALUES (1)`

var twice = strings.Repeat("one\n", 2)

// TestR68Trace: a piece of a log is sent twice, since its answer was lost or came late,
// the second while the first is at work; or it begins past the end, since the one before
// it was lost. No byte is there twice, and none is left out.
func TestR68Trace(t *testing.T) {
	t.Parallel()
	t.Run("twin/appends what comes", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		exec(t, pool, naiveTraces)
		for range 2 {
			exec(t, pool, "UPDATE traces SET text = text || $1::bytea", []byte("one\n"))
		}
		if got := one[[]byte](t, pool, "SELECT text FROM traces"); string(got) != twice {
			t.Errorf("the log is %q; want it twice, for that is what goes wrong", got)
		}
	})
	t.Run("twin/writes where it is told", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		exec(t, pool, naiveTraces)
		const write = `UPDATE traces SET text = overlay(rpad_bytes || $1::bytea PLACING $1::bytea FROM $2::integer + 1)
			FROM (SELECT t.text || decode(repeat('00', greatest(0, $2::integer - octet_length(t.text))), 'hex') AS rpad_bytes FROM traces AS t) AS t`
		exec(t, pool, write, []byte("one\n"), 0)
		exec(t, pool, write, []byte("three\n"), 8)
		if got := one[[]byte](t, pool, "SELECT text FROM traces"); string(got[:12]) != "one\n\x00\x00\x00\x00thre" {
			t.Errorf("the log is %q; want a hole, for that is what goes wrong", got)
		}
	})
	t.Run("twin/looks and then appends", func(t *testing.T) {
		t.Parallel()
		pool := testdb.New(t).Pool(t)
		exec(t, pool, naiveTraces)
		first, second := one[int](t, pool, "SELECT octet_length(text) FROM traces"), one[int](t, pool, "SELECT octet_length(text) FROM traces")
		for _, end := range []int{first, second} {
			if end == 0 { // where the piece begins
				exec(t, pool, "UPDATE traces SET text = text || $1::bytea", []byte("one\n"))
			}
		}
		if got := one[[]byte](t, pool, "SELECT text FROM traces"); string(got) != twice {
			t.Errorf("the log is %q; want it twice, for that is what goes wrong", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		at := stopAt("trace read", 1)
		s := newSite(t, testdb.New(t).Pool(t), runner.Options{Hook: at.hook})
		s.queue(t, "build")
		b := s.pick(t)
		first := make(chan answer, 1)
		go func() { first <- s.patch(t, b, 0, "one\n") }()
		<-at.reached
		wantStatus(t, "the second, while the first is at work", s.patch(t, b, 0, "one\n"), http.StatusAccepted)
		wantStatus(t, "past the end", s.patch(t, b, 8, "three\n"), http.StatusRequestedRangeNotSatisfiable)
		close(at.goOn)
		late := <-first
		wantStatus(t, "the first, when it goes on", late, http.StatusRequestedRangeNotSatisfiable)
		if got := late.header.Get("Range"); got != "0-4" {
			t.Errorf("it is told to go on from %q, want 0-4", got)
		}
		wantStatus(t, "what was lost", s.patch(t, b, 4, "two\n"), http.StatusAccepted)
		wantStatus(t, "the rest", s.patch(t, b, 8, "three\n"), http.StatusAccepted)
		if got := s.log(t, b); got != "one\ntwo\nthree\n" {
			t.Errorf("the log is %q", got)
		}
	})
}
