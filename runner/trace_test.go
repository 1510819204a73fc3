package runner_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/runner"
)

// running is a build that a runner has.
func (b *bench) running() (id int64, token string) {
	b.t.Helper()
	b.enqueue()
	a := b.request(b.runner(), "")
	if a.Status != http.StatusCreated {
		b.t.Fatalf("no build: %d %v", a.Status, a.Body)
	}
	return a.Build(), a.Token()
}

// patch sends a piece of a log, and returns the status and the header Range.
func (b *bench) patch(id int64, token, contentRange, text string) (status int, end string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPatch,
		fmt.Sprintf("%s/api/v4/jobs/%d/trace?debug_trace=false", b.url, id), strings.NewReader(text))
	must(b.t, err)
	request.Header.Set("Content-Type", "text/plain")
	request.Header.Set("Content-Range", contentRange)
	request.Header.Set("Job-Token", token)
	response, err := b.client.Do(request)
	must(b.t, err)
	_, err = io.Copy(io.Discard, response.Body)
	must(b.t, err)
	must(b.t, response.Body.Close())
	if told := response.Header.Get("X-GitLab-Last-Update"); told != "" {
		b.t.Errorf("a log was answered with the last update %q", told)
	}
	return response.StatusCode, response.Header.Get("Range")
}

// piece sends the piece of a log that begins at start, which has to be taken.
func (b *bench) piece(id int64, token string, start int, text string) {
	b.t.Helper()
	status, end := b.patch(id, token, fmt.Sprintf("%d-%d", start, start+len(text)-1), text)
	if want := fmt.Sprintf("0-%d", start+len(text)); status != http.StatusAccepted || end != want {
		b.t.Fatalf("a piece from %d: %d with Range %q, want 202 with %q", start, status, end, want)
	}
}

func (b *bench) log(id int64, attempt int32, offset int64) string {
	b.t.Helper()
	var text bytes.Buffer
	must(b.t, runner.Trace(b.t.Context(), b.pool, id, attempt, offset, false, &text))
	return text.String()
}

// finish ends a build whose log is text.
func (b *bench) finish(id int64, token, text string) answer {
	b.t.Helper()
	sum := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE([]byte(text)))
	return b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", id), body{
		"token": token, "state": "success", "checksum": sum, "output": body{"checksum": sum, "bytesize": len(text)},
	})
}

func TestTraceIsAppendedInOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id, token := b.running()
	b.piece(id, token, 0, "one\n")
	for _, sent := range []struct{ contentRange, text string }{
		{"0-3", "one\n"},         // again
		{"8-11", "far\n"},        // past the end
		{"2-5", "e\ntw"},         // across the end
		{"", "two\n"},            // no range
		{"4-", "two\n"},          // no end
		{"bytes 4-7/8", "two\n"}, // as HTTP has it
		{"4-8", "two\n"},         // another length
		{"4-3", "two\n"},         // backwards
		{"-4-7", "two\n"},        // a sign
		{"4-7-7", "two\n"},       // too many
		{"4-3", ""},              // nothing
		{"99999999999999999999-0", "two\n"},
	} {
		if status, end := b.patch(id, token, sent.contentRange, sent.text); status != http.StatusRequestedRangeNotSatisfiable || end != "0-4" {
			t.Errorf("Content-Range %q: %d with Range %q, want 416 with 0-4", sent.contentRange, status, end)
		}
	}
	b.piece(id, token, 4, "two\n")
	if got := b.log(id, 0, 0); got != "one\ntwo\n" {
		t.Errorf("the log is %q", got)
	}
	if got := b.log(id, 1, 2); got != "e\ntwo\n" {
		t.Errorf("the log from byte 2 is %q", got)
	}
	var begun bool
	must(t, b.pool.QueryRow(t.Context(), "SELECT started_at IS NOT NULL FROM casq.builds WHERE id = $1", id).Scan(&begun))
	if !begun {
		t.Error("a log is no sign of life")
	}
}

func TestTraceIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id, token := b.running()
	if status, _ := b.patch(id, "wrong", "0-3", "one\n"); status != http.StatusForbidden {
		t.Errorf("a wrong token: %d", status)
	}
	if status, _ := b.patch(id, "", "0-3", "one\n"); status != http.StatusForbidden {
		t.Errorf("no token: %d", status)
	}
	if status, _ := b.patch(999_999, token, "0-3", "one\n"); status != http.StatusNotFound {
		t.Errorf("no such build: %d", status)
	}
	large := strings.Repeat("x", 1<<20+1)
	if status, _ := b.patch(id, token, fmt.Sprintf("0-%d", len(large)-1), large); status != http.StatusRequestEntityTooLarge {
		t.Errorf("more than 1 MiB: %d", status)
	}
	b.piece(id, token, 0, large[1:])
	if err := runner.Trace(t.Context(), b.pool, 999_999, 0, 0, false, io.Discard); err == nil {
		t.Error("there is a log of no build")
	}
	if err := runner.Trace(t.Context(), b.pool, id, 2, 0, false, io.Discard); err == nil {
		t.Error("there is a log of no attempt")
	}
}

// Two requests have read the log before either appends to it.
func TestTwoPiecesAtOnce(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	both.Add(2)
	meet := func(point string) {
		if point == "trace read" {
			both.Done()
			both.Wait()
		}
	}
	b := newBench(t, runner.Options{Hook: meet})
	id, token := b.running()
	status := make([]int, 2)
	end := make([]string, 2)
	var sent sync.WaitGroup
	for i := range 2 {
		sent.Go(func() { status[i], end[i] = b.patch(id, token, "0-3", "one\n") })
	}
	sent.Wait()
	if status[0]+status[1] != 202+416 || end[0] != "0-4" || end[1] != "0-4" {
		t.Errorf("answered %v with %v", status, end)
	}
	if got := b.log(id, 0, 0); got != "one\n" {
		t.Errorf("the log is %q", got)
	}
}

func TestTraceIsCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{MostTrace: 10})
	id, token := b.running()
	b.piece(id, token, 0, "0123456")
	b.piece(id, token, 7, "789abc")
	b.piece(id, token, 13, "def")
	got := b.log(id, 0, 0)
	if !strings.HasPrefix(got, "0123456789\n") || !strings.Contains(got, "longer than 10 bytes") || strings.Contains(got, "abc") {
		t.Errorf("the log is %q", got)
	}
	if a := b.finish(id, token, "0123456789abcdef"); a.Status != http.StatusOK {
		t.Errorf("the end of a log that was cut: %d", a.Status)
	}
}

func TestTraceIsAskedForAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	for _, here := range []string{"", "first\n", "first\nsexond\n"} {
		id, token := b.running()
		if here != "" {
			b.piece(id, token, 0, here)
		}
		whole := "first\nsecond\n"
		a := b.finish(id, token, whole)
		if a.Status != http.StatusPreconditionFailed || a.Header.Get("Job-Status") != "running" || a.Header.Get("X-GitLab-Trace-Update-Interval") == "" {
			t.Fatalf("with %q here: %d %v", here, a.Status, a.Header)
		}
		if got := b.log(id, 0, 0); got != here {
			t.Errorf("nothing was sent again, and the log is %q", got)
		}
		b.piece(id, token, 0, whole[:6])
		if status, end := b.patch(id, token, "0-5", whole[:6]); status != http.StatusRequestedRangeNotSatisfiable || end != "0-6" {
			t.Errorf("the beginning twice: %d with Range %q", status, end)
		}
		b.piece(id, token, 6, whole[6:])
		if got := b.log(id, 0, 0); got != whole {
			t.Errorf("the log is %q", got)
		}
		if a := b.finish(id, token, whole); a.Status != http.StatusOK || b.status(id) != "success" {
			t.Errorf("with all of it here: %d, it is %s", a.Status, b.status(id))
		}
	}
}

// The answer that asks for it may be lost: the end is told again then, with nothing sent. A
// log that was sent again thrice and is still another one is taken as it is.
func TestTraceIsSentAgainThrice(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id, token := b.running()
	b.piece(id, token, 0, "some\n")
	for sent := range 3 {
		for range 2 {
			if a := b.finish(id, token, "other\n"); a.Status != http.StatusPreconditionFailed || b.status(id) != "running" {
				t.Fatalf("after it was sent %d times more: %d, it is %s", sent, a.Status, b.status(id))
			}
		}
		b.piece(id, token, 0, "else\n")
	}
	if a := b.finish(id, token, "other\n"); a.Status != http.StatusOK || b.status(id) != "success" {
		t.Errorf("in the end: %d, it is %s", a.Status, b.status(id))
	}
}

func TestEmptyTraceIsNotAskedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id, token := b.running()
	b.piece(id, token, 0, "some\n")
	if a := b.finish(id, token, ""); a.Status != http.StatusOK || b.status(id) != "success" {
		t.Errorf("its runner has nothing to send: %d, it is %s", a.Status, b.status(id))
	}
}

// The log is followed while pieces come, and read again when they were joined.
func TestTraceIsFollowedAndCompacted(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{})
	id := b.enqueue()
	reader, writer := io.Pipe()
	followed := make(chan error, 1)
	go func() {
		err := runner.Trace(t.Context(), b.pool, id, 0, 0, true, writer)
		followed <- err
		writer.CloseWithError(err)
	}()
	a := b.request(b.runner(), "")
	var whole strings.Builder
	for i := range 3 {
		text := strings.Repeat(fmt.Sprintf("line %d\n", i), 90_000)
		b.piece(id, a.Token(), whole.Len(), text)
		whole.WriteString(text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != text {
			t.Fatalf("followed to something else: %v", err)
		}
	}
	must(t, b.c.Tidy(t.Context()))
	if n := b.chunks(id); n != 3 {
		t.Errorf("there are %d pieces before the end", n)
	}
	if a := b.finish(id, a.Token(), whole.String()); a.Status != http.StatusOK {
		t.Fatalf("the end: %d", a.Status)
	}
	must(t, <-followed)
	for range 2 {
		must(t, b.c.Tidy(t.Context()))
		if n := b.chunks(id); n != 2 {
			t.Errorf("there are %d pieces after the end", n)
		}
	}
	if got := b.log(id, 0, 0); got != whole.String() {
		t.Error("joined pieces are another log")
	}
	if got := b.log(id, 0, 1_500_000); got != whole.String()[1_500_000:] {
		t.Error("joined pieces are another log from the middle on")
	}
	b.piece(id, a.Token(), whole.Len(), "the end\n")
	if got := b.log(id, 0, int64(whole.Len())); got != "the end\n" {
		t.Errorf("what came after the end is %q", got)
	}
}

func (b *bench) chunks(id int64) (n int) {
	b.t.Helper()
	must(b.t, b.pool.QueryRow(b.t.Context(), "SELECT count(*) FROM casq.build_trace_chunks WHERE build_id = $1", id).Scan(&n))
	return n
}

// A build that ends before a runner had it has no log to wait for.
func TestTraceOfABuildThatNeverRanEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id := b.enqueue()
	_, err := b.pool.Exec(t.Context(), "SELECT casq.cancel_build($1)", id)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var text bytes.Buffer
	if err := runner.Trace(ctx, b.pool, id, 0, 0, true, &text); err != nil || text.Len() > 0 {
		t.Errorf("%v, %q", err, text.String())
	}
}
