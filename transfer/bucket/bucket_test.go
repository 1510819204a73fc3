package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"casq/internal/testing/s3test"
	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"

	_ "gocloud.dev/blob/s3blob" // s3://
)

type bundle struct {
	*Files
	source string
	server *s3test.Server
}

func setup(t *testing.T, prefix string, configure ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{server: s3test.New(t), source: t.TempDir()}
	source, err := file.OpenSource(b.source, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	config := Config{Source: source, TargetURL: b.server.URL(prefix)}
	for _, f := range configure {
		f(&config)
	}
	b.Files, err = Open(t.Context(), config)
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, b.Files.Close()) })
	return b
}

func (b *bundle) sync(t *testing.T, key, payload string) (transfer.Result, error) {
	t.Helper()
	return transfertest.Sync(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()}, payload)
}

func (b *bundle) remove(t *testing.T, key string) error {
	t.Helper()
	return transfertest.Remove(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()})
}

func (b *bundle) wantObjects(t *testing.T, want map[string]string) {
	t.Helper()
	if got := b.server.Objects(); !maps.Equal(got, want) {
		t.Fatalf("in the bucket is %q, want %q", got, want)
	}
}

func (b *bundle) begin(t *testing.T, key string) *bucketRun {
	t.Helper()
	run, err := b.Begin(t.Context(), transfer.Place{Key: key, Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	started, ok := run.(*bucketRun)
	if !ok {
		t.Fatalf("begun is a %T", run)
	}
	return started
}

// copied has begun and copied.
func (b *bundle) copied(t *testing.T, key, content string) *bucketRun {
	t.Helper()
	transfertest.Write(t, b.source, key, content)
	run := b.begin(t, key)
	_, err := run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	return run
}

func TestBucketPublishAndRemove(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "deep/er/"} {
		t.Run("prefix="+prefix, func(t *testing.T) {
			t.Parallel()
			b := setup(t, prefix)
			if !b.Unfenced() {
				t.Error("a bucket passes for a target that can be fenced")
			}
			want := map[string]string{}
			for _, key := range []string{
				"plain", "a/b/c", "a/b.c", ".hidden", "..double", "sp ace+plus", "ünï/çödé", "%2e%2e", "a:b", "quote'\"&<>", "{key}", "deep/.casq/x",
				strings.Repeat("n", 255), "query?x=1#y", "__0X2f__",
			} {
				content := "bytes of " + key
				transfertest.Write(t, b.source, key, content)
				result, err := b.sync(t, key, "")
				transfertest.Must(t, err)
				want[prefix+key] = content
				if sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))); result.Checksum != sum || result.Size != int64(len(content)) {
					t.Errorf("%q: got %+v", key, result)
				}
				transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: key}, nil, result.Checksum))
			}
			b.wantObjects(t, want)
			transfertest.Write(t, b.source, "a/b.c", "newer")
			_, err := b.sync(t, "a/b.c", "")
			transfertest.Must(t, err)
			transfertest.Must(t, b.remove(t, "plain"))
			transfertest.Must(t, b.remove(t, "plain")) // what is not there is removed
			want[prefix+"a/b.c"] = "newer"
			delete(want, prefix+"plain")
			b.wantObjects(t, want)
			transfertest.WantError(t, b.Verify(t.Context(), transfer.Place{Key: "plain"}, nil, "sha256:"+strings.Repeat("0", 64)), transfer.ErrMismatch)
			transfertest.Must(t, b.VerifyAbsent(t.Context(), transfer.Place{Key: "plain"}))
			transfertest.WantError(t, b.VerifyAbsent(t.Context(), transfer.Place{Key: "a/b.c"}), transfer.ErrMismatch)
		})
	}
}

// A large object goes in parts.
func TestBucketTakesLargeFiles(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	large := strings.Repeat("0123456789abcdef", 13<<20/16)
	transfertest.Write(t, b.source, "large", large)
	_, err := b.sync(t, "large", "")
	transfertest.Must(t, err)
	if b.server.Objects()["large"] != large {
		t.Error("it is not as it was")
	}
}

func TestBucketRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	for _, key := range []string{"", "/a", "../a", "a/../b", "a/./b", "a//b", ".casq/x", ".CASQ/x", "new\nline", "dots../x", "a__0x2f__b", strings.Repeat("n/", 513) + "x"} {
		_, err := b.Begin(t.Context(), transfer.Place{Key: key, Claim: transfertest.NewClaim()})
		transfertest.WantError(t, err, transfer.ErrBadPlace)
	}
	b.wantObjects(t, map[string]string{})

	transfertest.Write(t, b.source, "x", "content")
	for payload, want := range map[string]error{
		`{"size": 3}`: transfer.ErrChanged, `{"sha256": "` + strings.Repeat("0", 64) + `"}`: transfer.ErrChanged, `[]`: transfer.ErrBadPayload,
	} {
		_, err := b.sync(t, "x", payload)
		transfertest.WantError(t, err, want)
	}
	_, err := b.sync(t, "nowhere", "")
	transfertest.WantError(t, err, transfer.ErrMissing)
	b.wantObjects(t, map[string]string{})
}

// What is begun later fences what was begun before, wherever that stands.
func TestBucketFence(t *testing.T) {
	t.Parallel()
	t.Run("before the copy to staging", func(t *testing.T) {
		t.Parallel()
		b := setup(t, "")
		transfertest.Write(t, b.source, "x", "old")
		old := b.begin(t, "x")
		newer := b.copied(t, "x", "new")
		_, err := old.Copy(t.Context(), nil)
		transfertest.WantError(t, err, transfer.ErrFenced)
		transfertest.Must(t, newer.Publish(t.Context()))
		transfertest.Must(t, errors.Join(old.Close(), newer.Close()))
		b.wantObjects(t, map[string]string{"x": "new"})
	})
	t.Run("during the copy to staging", func(t *testing.T) {
		t.Parallel()
		b := setup(t, "")
		old := b.copied(t, "x", "old")
		newer := b.copied(t, "x", "new")
		// Its upload ends after the other has begun: it has bytes, and no mark.
		transfertest.Must(t, b.bucket.WriteAll(t.Context(), old.key(stagedBytes), []byte("old"), nil))
		transfertest.Must(t, newer.Publish(t.Context()))
		transfertest.WantError(t, old.Publish(t.Context()), transfer.ErrFenced)
		transfertest.Must(t, errors.Join(old.Close(), newer.Close()))
		b.wantObjects(t, map[string]string{"x": "new"})
	})
	for _, removal := range []bool{false, true} {
		t.Run(fmt.Sprintf("right before the server is told, removal=%v", removal), func(t *testing.T) {
			t.Parallel()
			var between func()
			b := setup(t, "", func(c *Config) {
				c.TestHook = func(point string) {
					if point == transfer.PointBeforePublish || point == transfer.PointBeforeRemove {
						if f := between; f != nil {
							between = nil
							f()
						}
					}
				}
			})
			old := b.copied(t, "x", "old")
			between = func() {
				newer := b.copied(t, "x", "new")
				if !newer.Contested() {
					t.Error("a run that found another's staging passes for undisputed")
				}
				transfertest.Must(t, newer.Publish(t.Context()))
				transfertest.Must(t, newer.Close())
			}
			if removal {
				// This is what a bucket cannot prevent. It is told afterwards.
				transfertest.WantError(t, old.Remove(t.Context()), transfer.ErrFenced)
				transfertest.Must(t, old.Close())
				b.wantObjects(t, map[string]string{})
				return
			}
			transfertest.WantError(t, old.Publish(t.Context()), transfer.ErrFenced)
			transfertest.Must(t, old.Close())
			b.wantObjects(t, map[string]string{"x": "new"})
		})
	}
}

// A write that was not answered leaves a mark, by which the next run knows that
// it may still come; one that was answered leaves no mark.
func TestAnUnansweredWriteLeavesItsMark(t *testing.T) {
	t.Parallel()
	for _, removal := range []bool{false, true} {
		t.Run(fmt.Sprintf("removal=%v", removal), func(t *testing.T) {
			t.Parallel()
			b := setup(t, "")
			run := b.copied(t, "x", "old")
			if run.Contested() {
				t.Error("a first run is contested")
			}
			b.server.Put("x", "what was there")
			held := b.server.HoldNext("x")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				if removal {
					done <- run.Remove(ctx)
				} else {
					done <- run.Publish(ctx)
				}
			}()
			late := <-held
			cancel()
			transfertest.WantError(t, <-done, context.Canceled)
			transfertest.Must(t, run.Close())

			newer := b.copied(t, "x", "new")
			if !newer.Contested() {
				t.Error("nobody knows of the write that may still come")
			}
			transfertest.Must(t, newer.Publish(t.Context()))
			transfertest.Must(t, newer.Close())
			late.Land()
			want := map[string]string{"x": "old"}
			if removal {
				want = map[string]string{}
			}
			b.wantObjects(t, want) // the weaker promise: this is what it means
			sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("new")))
			transfertest.WantError(t, b.Verify(t.Context(), transfer.Place{Key: "x"}, nil, sum), transfer.ErrMismatch)

			last := b.copied(t, "x", "new")
			if last.Contested() {
				t.Error("what was answered has left a mark")
			}
			transfertest.Must(t, errors.Join(last.Publish(t.Context()), last.Close()))
			b.wantObjects(t, map[string]string{"x": "new"})
		})
	}
}

// What tells of a write that may still come is no left-over before nothing can
// come any more, though its claim is over.
func TestAMarkOutlivesItsWrite(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	run := b.copied(t, "x", "old")
	held := b.server.HoldNext("x")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run.Publish(ctx) }()
	late := <-held
	cancel()
	transfertest.WantError(t, <-done, context.Canceled)
	transfertest.Must(t, run.Close())
	if found := transfertest.Staged(t, b); len(found) > 0 {
		t.Errorf("%v can be dropped, with all that is known of the write", found)
	}
	// A run that has met the mark, and fails, has compared nothing.
	failing := b.begin(t, "x")
	if !failing.Contested() {
		t.Error("nobody knows of the write that may still come")
	}
	transfertest.Must(t, failing.Close())
	newer := b.copied(t, "x", "new")
	if !newer.Contested() {
		t.Error("the failed run took the knowledge of the write away")
	}
	transfertest.Must(t, errors.Join(newer.Publish(t.Context()), newer.Close()))
	late.Land()
	if last := b.begin(t, "x"); last.Contested() {
		t.Error("what was answered has left a mark")
	}
}

func TestBucketStagingIsListedAndDropped(t *testing.T) {
	t.Parallel()
	b := setup(t, "p/")
	b.bucket.leftoverAge = 0
	if found := transfertest.Staged(t, b); len(found) > 0 {
		t.Fatalf("found %v in an empty bucket", found)
	}
	dead, live := b.copied(t, "a/b", "bytes"), b.copied(t, "other", "bytes")
	b.server.Put("p/.casq/notes", "not ours")
	b.server.Put("p/.casq/"+transfer.StagingName("a/b")+"/notes/x", "not ours")
	stale, kept := transfer.Staged{Folder: dead.folder, Claim: dead.claim}, transfer.Staged{Folder: live.folder, Claim: live.claim}
	if found := transfertest.Staged(t, b); !maps.Equal(found, map[transfer.Staged]bool{stale: true, kept: true}) {
		t.Fatalf("found %v", found)
	}
	for range 2 {
		transfertest.Must(t, b.DropStaging(t.Context(), stale))
	}
	transfertest.WantError(t, b.DropStaging(t.Context(), transfer.Staged{Folder: dead.folder, Claim: ".."}), transfer.ErrBadPlace)
	transfertest.WantError(t, dead.Publish(t.Context()), transfer.ErrFenced)
	transfertest.Must(t, b.Sweep(t.Context(), transfer.Place{Key: "other", Claim: live.claim}))
	if found := transfertest.Staged(t, b); len(found) > 0 {
		t.Fatalf("found %v", found)
	}
	transfertest.Must(t, errors.Join(dead.Close(), live.Close()))
}

func TestOpenBucketSaysWhatToDo(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	server, refusing, stopped := s3test.New(t), s3test.New(t), s3test.New(t)
	refusing.Refuse(true)
	stopped.Stop()
	folder := t.TempDir()
	for name, test := range map[string]struct {
		source, target string
		want           error
		says           string
	}{
		"no such bucket":      {folder, server.BucketURL("nowhere", ""), nil, "no such bucket; create it"},
		"no permission":       {folder, refusing.URL(""), nil, "allowed to list the bucket"},
		"no server":           {folder, stopped.URL(""), ErrUnreachable, "check the endpoint"},
		"no region":           {folder, "s3://bucket?endpoint=x&anonymous=true", nil, "check the region"},
		"another driver":      {folder, "gs://bucket", nil, "buckets are s3://"},
		"no driver":           {folder, "nosuch://bucket", nil, "buckets are s3://"},
		"no source's driver":  {"nosuch://bucket", server.URL(""), nil, "nosuch"},
		"a password":          {folder, "s3://me:" + secret + "@bucket", nil, "***@"},
		"a bad parameter":     {folder, "s3://bucket?token=" + secret, nil, "buckets are s3://"},
		"itself":              {server.URL(""), server.URL(""), nil, "use separate prefixes or buckets"},
		"inside the source":   {server.URL("a/"), server.URL("a/b/"), nil, "use separate prefixes or buckets"},
		"around the source":   {server.URL("a/b/"), server.URL(""), nil, "use separate prefixes or buckets"},
		"beside the source":   {server.URL("a/"), server.URL("b/"), nil, ""},
		"on another server":   {refusing.URL(""), server.URL(""), nil, ""},
		"secret in a source":  {"s3://u:" + secret + "@bucket?token=" + secret, server.URL(""), nil, "open file source"},
		"secret in its place": {folder, "s3://" + secret + ":" + secret + "@nowhere?endpoint=http%3A%2F%2Fu%3A" + secret + "%40localhost%3A1&region=x&anonymous=true", nil, "open file target"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var source transfer.Source
			var err error
			if strings.Contains(test.source, "://") {
				source, err = OpenSource(t.Context(), test.source)
			} else {
				source, err = file.OpenSource(test.source, slog.New(slog.DiscardHandler))
			}
			var files *Files
			if err == nil {
				files, err = Open(t.Context(), Config{Source: source, TargetURL: test.target})
			}
			if test.says == "" {
				transfertest.Must(t, err)
				transfertest.Must(t, files.Close())
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || (test.want != nil && !errors.Is(err, test.want)) {
				t.Fatalf("error is %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("it tells a secret: %v", err)
			}
		})
	}
}

// What cannot be read is no mismatch: else a bucket that is away for a moment
// would have everything copied again.
func TestABucketThatIsAwayIsNoMismatch(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	transfertest.Write(t, b.source, "x", "content")
	result, err := b.sync(t, "x", "")
	transfertest.Must(t, err)
	b.server.Refuse(true)
	err = b.Verify(t.Context(), transfer.Place{Key: "x"}, json.RawMessage(`{}`), result.Checksum)
	if err == nil || errors.Is(err, transfer.ErrMismatch) {
		t.Fatalf("error is %v", err)
	}
	b.server.Refuse(false)
	b.server.Put("x", "Content")
	transfertest.WantError(t, b.Verify(t.Context(), transfer.Place{Key: "x"}, nil, result.Checksum), transfer.ErrMismatch)
}

// A bucket that was given up has no mark any more, and says why.
func TestABucketThatIsGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	transfertest.Must(t, b.Keep(t.Context(), transfertest.NewMark(), true))
	if record, err := b.Retired(t.Context()); err != nil || record != nil {
		t.Errorf("it was not given up, and has %q, %v", record, err)
	}
	for range 2 { // it may be done again
		transfertest.Must(t, b.Retire(t.Context(), []byte("why")))
	}
	record, err := b.Retired(t.Context())
	mark, markErr := b.Mark(t.Context())
	if err != nil || markErr != nil || string(record) != "why" || mark.ID != "" {
		t.Errorf("the record is %q, the mark %v: %v, %v", record, mark, err, markErr)
	}
}
