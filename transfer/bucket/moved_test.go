package bucket

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"casq/internal/testing/s3test"
	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func named(content string) string {
	return fmt.Sprintf(`{"sha256": "%x"}`, sha256.Sum256([]byte(content)))
}

// What has got another key is copied by the server, once it was compared with its SHA-256;
// whatever is not as it was, or cannot be copied, comes from the source.
func TestAMoveInABucket(t *testing.T) {
	t.Parallel()
	const content = "the bytes that are moved"
	aside := asides + transfer.AsideName("old", 3)
	for name, c := range map[string]struct {
		before  func(b *bundle)
		payload string
		held    bool
	}{
		"as it was":           {held: true, payload: named(content)},
		"without a SHA-256":   {payload: "{}"},
		"it was overwritten":  {payload: named(content), before: func(b *bundle) { b.server.Put("old", "the bytes of another one") }},
		"it has another size": {payload: named(content), before: func(b *bundle) { b.server.Put("old", "other") }},
		"it is gone":          {payload: named(content), before: func(b *bundle) { b.server.Delete("old") }},
		"it was put aside": {held: true, payload: named(content), before: func(b *bundle) {
			b.server.Put(aside, content)
			b.server.Put("old", "the next one's")
		}},
		"it is put aside meanwhile": {held: true, payload: named(content), before: func(b *bundle) {
			b.server.Copies(func(from, _ string) error {
				if from == "old" {
					b.server.Put(aside, content)
					b.server.Put("old", "the next one's")
				}
				return nil
			})
		}},
		"it is too large for the server": {payload: named(content), before: func(b *bundle) {
			b.server.Copies(func(from, _ string) error {
				if from == "old" {
					return errors.New("the specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
				}
				return nil
			})
		}},
		"the answer is lost": {payload: named(content), before: func(b *bundle) {
			b.server.Copies(func(from, _ string) error {
				if from == "old" {
					return s3test.ErrLost
				}
				return nil
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, "")
			transfertest.Write(t, b.source, "old", content)
			transfertest.Write(t, b.source, "new", content)
			_, err := b.sync(t, "old", "")
			transfertest.Must(t, err)
			if c.before != nil {
				c.before(b)
			}
			b.server.Asked()
			base := &transfer.Base{Path: "old", Incarnation: 3}
			result, err := transfertest.Sync(t, b, transfer.Place{Key: "new", Claim: transfertest.NewClaim(), Base: base}, c.payload)
			transfertest.Must(t, err)
			if uploads := b.server.Asked()["PUT"]; (uploads == 0) != c.held || (result.Held == int64(len(content))) != c.held {
				t.Errorf("%d uploads, result %+v", uploads, result)
			}
			if got := b.server.Objects()["new"]; got != content {
				t.Errorf("in place is %q", got)
			}
			for _, key := range b.server.Keys() {
				if strings.HasPrefix(key, ".casq/") && !strings.HasPrefix(key, asides) {
					t.Errorf("%s is left", key)
				}
			}
		})
	}
}

// What the server copies too late does not get into the place: neither before it was
// compared nor after.
func TestALateCopyOfAMove(t *testing.T) {
	t.Parallel()
	const content = "the bytes that are moved"
	b := setup(t, "")
	transfertest.Write(t, b.source, "new", content)
	b.server.Put("old", content)
	base := &transfer.Base{Path: "old", Incarnation: 1}
	begun, err := b.Begin(t.Context(), transfer.Place{Key: "new", Claim: transfertest.NewClaim(), Base: base})
	transfertest.Must(t, err)
	run, ok := begun.(*bucketRun)
	if !ok {
		t.Fatalf("begun is a %T", begun)
	}
	_, err = run.Copy(t.Context(), []byte(named(content)))
	transfertest.Must(t, err)
	b.server.Put(run.key(stagedMoved), "what the old key has got meanwhile")
	if err := run.Publish(t.Context()); err == nil || run.unanswered {
		t.Errorf("published with %v, unanswered %t", err, run.unanswered)
	}
	if got, there := b.server.Objects()["new"]; there {
		t.Errorf("in place is %q", got)
	}
	_, err = run.Copy(t.Context(), []byte(named(content)))
	transfertest.Must(t, err)
	transfertest.Must(t, errors.Join(run.Publish(t.Context()), run.Close()))
	b.wantObjects(t, map[string]string{"old": content, "new": content})
}

// What is in place is put aside before another resource replaces it: once, for each
// incarnation; it is dropped when it is not kept any more.
func TestAsideInABucket(t *testing.T) {
	t.Parallel()
	b := setup(t, "p/")
	b.server.Put("p/a", "first")
	sync := func(content string, incarnation int64) {
		t.Helper()
		transfertest.Write(t, b.source, "a", content)
		_, err := transfertest.Sync(t, b, transfer.Place{Key: "a", Claim: transfertest.NewClaim(), Aside: incarnation}, "")
		transfertest.Must(t, err)
	}
	sync("second", 1)
	sync("third", 1) // what was put aside stays
	aside := transfer.AsideName("a", 1)
	b.wantObjects(t, map[string]string{"p/a": "third", "p/.casq/moved/" + aside: "first"})
	names, err := b.ListAside(t.Context())
	transfertest.Must(t, err)
	transfertest.WantKeys(t, names, aside)
	transfertest.Must(t, b.DropAside(t.Context(), aside))
	transfertest.Must(t, b.DropAside(t.Context(), aside))
	b.wantObjects(t, map[string]string{"p/a": "third"})
	transfertest.Must(t, b.remove(t, "a"))
	sync("fourth", 2) // there is nothing to put aside
	b.wantObjects(t, map[string]string{"p/a": "fourth"})
	b.server.Copies(func(string, string) error { return errors.New("refused") })
	if _, err := b.Begin(t.Context(), transfer.Place{Key: "a", Claim: transfertest.NewClaim(), Aside: 3}); err == nil {
		t.Error("it is replaced, and was not put aside")
	}
	b.wantObjects(t, map[string]string{"p/a": "fourth"})
}
