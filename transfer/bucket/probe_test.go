package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/s3test"
	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"
)

func openSource(t *testing.T, server *s3test.Server, prefix string) *Source {
	t.Helper()
	source, err := OpenSource(t.Context(), server.URL(prefix))
	transfertest.Must(t, err)
	t.Cleanup(func() { _ = source.Close() })
	return source
}

// told are the states of paths, in their order.
func told(t *testing.T, source *Source, paths []string) (states []string, err error) {
	t.Helper()
	slices.Sort(paths)
	err = source.States(t.Context(), paths, func(i int, state string, err error) {
		if i != len(states) {
			t.Fatalf("told of path %d after %d", i, len(states))
		}
		if err != nil {
			state = "?"
			if errors.Is(err, transfer.ErrMissing) {
				state = "missing"
			}
		}
		states = append(states, state)
	})
	return states, err
}

// A listing tells of a thousand, and says what a request for each would; what the bucket
// does not have, or has between them, is no matter.
func TestStatesOfABucket(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "deep/er/"} {
		t.Run("prefix="+prefix, func(t *testing.T) {
			t.Parallel()
			server := s3test.New(t)
			source := openSource(t, server, prefix)
			var paths []string
			for i := range 1500 {
				path := fmt.Sprintf("dir/%d.txt", i)
				if i%100 != 7 {
					server.Put(prefix+path, fmt.Sprint("bytes of ", i))
				}
				paths = append(paths, path)
			}
			for _, path := range []string{" ", "a b+c", "dir", "ünï/çödé", "\ue000", "z?x=1#y", "!", "bad../x"} {
				server.Put(prefix+path, path)
				paths = append(paths, path)
			}
			server.Asked()
			states, err := told(t, source, paths)
			transfertest.Must(t, err)
			if asked := server.Asked(); asked["LIST"] > 4 || asked["HEAD"] > 0 || len(states) != len(paths) {
				t.Errorf("%v requests for %d of %d", asked, len(states), len(paths))
			}
			for i, path := range paths {
				want, err := source.State(t.Context(), path)
				switch {
				case errors.Is(err, transfer.ErrMissing):
					want = "missing"
				case err != nil:
					want = "?"
				}
				if states[i] != want {
					t.Errorf("%q is %q, and %q by itself", path, states[i], want)
				}
			}
		})
	}
}

// Of many objects a few are wanted: what is between them is skipped, and a request never
// tells of fewer than one.
func TestStatesOfAFew(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	for i := range 3000 {
		server.Put(fmt.Sprintf("%04d", i), "x")
	}
	source := openSource(t, server, "")
	paths := []string{"0000", "0900", "2990", "2999", "5", "6"}
	server.Asked()
	states, err := told(t, source, paths)
	transfertest.Must(t, err)
	if asked := server.Asked(); asked["LIST"] > len(paths) || states[3] == "missing" || states[4] != "missing" || states[5] != "missing" {
		t.Errorf("%v requests, %q", asked, states)
	}
}

// A bucket that is not there has not lost everything.
func TestStatesOfABucketThatIsAway(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	gone, err := OpenSource(t.Context(), server.BucketURL("nowhere", ""))
	transfertest.Must(t, err)
	t.Cleanup(func() { _ = gone.Close() })
	_, err = told(t, gone, []string{"a"})
	transfertest.WantError(t, err, transfer.ErrAway)
	_, err = gone.State(t.Context(), "a")
	transfertest.WantError(t, err, transfer.ErrAway)
	_, err = gone.Open(t.Context(), "a")
	transfertest.WantError(t, err, transfer.ErrAway)
	refused := openSource(t, server, "")
	server.Refuse(true)
	if states, err := told(t, refused, []string{"a", "b"}); err == nil {
		t.Errorf("%q of a bucket that refuses", states)
	}
}

// What a bucket's object was when it was copied is compared with what it is, and what a
// folder's file was, where the target is a bucket; size and time of the copy tell nothing.
func TestProbeWithBuckets(t *testing.T) {
	t.Parallel()
	type prober interface {
		transfertest.Mover
		Probe(ctx context.Context, copied transfer.Copied) (bool, error)
	}
	server := s3test.New(t)
	folderSource := setup(t, "t/")
	fromBucket, err := file.Open(file.Config{Source: openSource(t, server, "a/"), Target: t.TempDir()})
	transfertest.Must(t, err)
	both, err := Open(t.Context(), Config{Source: openSource(t, server, "a/"), TargetURL: server.URL("b/")})
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, errors.Join(fromBucket.Close(), both.Close())) })
	put := func(content string) { server.Put("a/k", content) }
	for name, c := range map[string]struct {
		files prober
		put   func(content string)
	}{
		"a folder to a bucket": {folderSource, func(content string) { transfertest.Write(t, folderSource.source, "k", content) }},
		"a bucket to a folder": {fromBucket, put},
		"a bucket to a bucket": {both, put},
	} {
		c.put("first")
		result, err := transfertest.Sync(t, c.files, transfer.Place{Key: "k", Claim: transfertest.NewClaim()}, "")
		transfertest.Must(t, err)
		copied := transfer.Copied{Place: transfer.Place{Key: "k"}, Checksum: result.Checksum, State: result.State}
		for _, step := range []struct {
			content, payload string
			differs          bool
		}{{"first", "", false}, {"other", "", true}, {"other", named("first"), false}} {
			if step.content != "first" {
				c.put(step.content)
			}
			copied.Payload = []byte(step.payload)
			differs, err := c.files.Probe(t.Context(), copied)
			transfertest.Must(t, err)
			if differs != step.differs {
				t.Errorf("%s: with %q differs is %t", name, step.content, differs)
			}
		}
		copied.Place.Key = "none"
		_, err = c.files.Probe(t.Context(), copied)
		transfertest.WantError(t, err, transfer.ErrMissing)
	}
	if !fromBucket.Lists() || !both.Lists() || folderSource.Lists() {
		t.Error("what is listed")
	}
}

func TestJustBefore(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"a", "dir/ ", "\ue000", "ü", "a/b"} {
		if before := justBefore(path); before >= path || !strings.HasPrefix(path, before[:1]) && len([]rune(path)) > 1 {
			t.Errorf("%q is before %q", before, path)
		}
	}
}
