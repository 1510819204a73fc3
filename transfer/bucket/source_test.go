package bucket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"

	"gocloud.dev/blob/memblob"
)

// changing changes the bucket after the first read.
type changing struct {
	transfer.Source
	change func()
}

// Open implements [transfer.Source].
func (c changing) Open(ctx context.Context, path string) (transfer.Object, error) {
	o, err := c.Source.Open(ctx, path)
	return transfertest.Meddle(o, c.change), err
}

func TestFileBucket(t *testing.T) {
	t.Parallel()
	bucket, target := memblob.OpenBucket(nil), t.TempDir()
	source := &Source{bucket: bucket}
	t.Cleanup(func() { transfertest.Must(t, bucket.Close()) })
	sync := func(change func(), key, payload string) error {
		from := transfer.Source(source)
		if change != nil {
			from = changing{source, change}
		}
		files, err := file.Open(file.Config{Source: unclosed{from}, Target: target})
		transfertest.Must(t, err)
		defer func() { transfertest.Must(t, files.Close()) }()
		_, err = transfertest.Sync(t, files, transfer.Place{Key: key, Claim: transfertest.NewClaim()}, payload)
		return err
	}
	for _, content := range []string{"", "first", strings.Repeat("long", 256<<10)} {
		transfertest.Must(t, bucket.WriteAll(t.Context(), "a/k", []byte(content), nil))
		transfertest.Must(t, sync(nil, "a/k", fmt.Sprintf(`{"size": %d, "sha256": "%x"}`, len(content), sha256.Sum256([]byte(content)))))
		transfertest.Must(t, sync(nil, "a/k", ""))
		transfertest.WantContent(t, target, "a/k", content)
	}
	transfertest.WantError(t, sync(nil, "none", ""), transfer.ErrMissing)
	replace := func() { transfertest.Must(t, bucket.WriteAll(t.Context(), "a/k", []byte("other"), nil)) }
	transfertest.WantError(t, sync(replace, "a/k", ""), transfer.ErrChanged)
	remove := func() { transfertest.Must(t, bucket.Delete(t.Context(), "a/k")) }
	transfertest.WantError(t, sync(remove, "a/k", ""), transfer.ErrChanged)
}

// unclosed is a source that stays open.
type unclosed struct{ transfer.Source }

// Close implements [transfer.Source].
func (unclosed) Close() error { return nil }

// A bucket's driver stores some keys under other names, which are other keys'. They
// are not read, either.
func TestABucketIsNotReadUnderAnotherName(t *testing.T) {
	t.Parallel()
	source := &Source{bucket: memblob.OpenBucket(nil)}
	t.Cleanup(func() { transfertest.Must(t, source.Close()) })
	for _, key := range []string{"a../b", "a__0x2e__"} {
		transfertest.Must(t, source.bucket.WriteAll(t.Context(), key, []byte("another's"), nil))
		_, err := source.Open(t.Context(), key)
		transfertest.WantError(t, err, transfer.ErrBadPlace)
	}
}
