package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

type bundle struct {
	*Files
	source, target string
	unfenced       bool // a naive twin
}

// testConfig is a config with a folder as the source.
type testConfig struct {
	Config
	SourceURL string
}

func (s testConfig) open() (*Files, error) {
	source, err := OpenSource(s.SourceURL, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	s.Source = source
	return Open(s.Config)
}

// openFolders opens files from one folder to another.
func openFolders(source, target string) (*Files, error) {
	return testConfig{SourceURL: source, Config: Config{Target: target}}.open()
}

func setup(t *testing.T, configure ...func(*testConfig)) *bundle {
	t.Helper()
	b := &bundle{source: t.TempDir(), target: t.TempDir()}
	setup := testConfig{SourceURL: b.source, Config: Config{Target: b.target}}
	for _, f := range configure {
		f(&setup)
	}
	b.target = strings.TrimPrefix(setup.Target, "file://")
	files, err := setup.open()
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, files.Close()) })
	b.Files = files
	return b
}

// Begin is that of the files, or of a naive twin.
func (b *bundle) Begin(ctx context.Context, place transfer.Place) (transfer.Run, error) {
	if b.unfenced {
		return transfertest.Unfenced(b.target, b.Files.Begin)(ctx, place)
	}
	return b.Files.Begin(ctx, place)
}

func (b *bundle) sync(t *testing.T, key, payload string) (transfer.Result, error) {
	t.Helper()
	return transfertest.Sync(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()}, payload)
}

func (b *bundle) remove(t *testing.T, key string) error {
	t.Helper()
	return transfertest.Remove(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()})
}

func TestFileEmptyReplacedAndMode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a/x", "")
	transfertest.Must(t, os.Chmod(b.source+"/a/x", 0o700))
	result, err := b.sync(t, "a/x", `{"size": 0, "sha256": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "more": [1]}`)
	transfertest.Must(t, err)
	if result.Size != 0 {
		t.Fatal(result)
	}
	info, err := os.Stat(b.target + "/a/x")
	transfertest.Must(t, err)
	if info.Mode() != 0o700 {
		t.Fatalf("mode is %v", info.Mode())
	}
	transfertest.Write(t, b.source, "a/x", "second")
	_, err = b.sync(t, "a/x", "{}")
	transfertest.Must(t, err)
	transfertest.WantContent(t, b.target, "a/x", "second")
}

func TestFilePrefix(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "from/k", "v")
	run, err := b.Begin(t.Context(), transfer.Place{Prefix: "pre/fix", SourcePrefix: "from", Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.WantAbsent(t, b.target, "pre")
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Publish(t.Context())) // the transaction may be tried again
	transfertest.Must(t, run.Close())
	transfertest.Must(t, run.Close())
	transfertest.WantContent(t, b.target, "pre/fix/k", "v")
}

func TestFilePayload(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "content")
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	cases := []struct {
		payload string
		want    error
	}{
		{``, nil},
		{`{}`, nil},
		{`{"sha256": null, "size": null}`, nil},
		{`{"SHA256": 7}`, nil},
		{`{"sha256": "` + sum + `", "size": 7}`, nil},
		{`{"sha256": "\\x` + sum + `"}`, nil},
		{`{"sha256": "` + strings.Repeat("0", 64) + `"}`, transfer.ErrChanged},
		{`{"size": 8}`, transfer.ErrChanged},
		{`{"size": "7"}`, transfer.ErrBadPayload},
		{`{"size": 7.5}`, transfer.ErrBadPayload},
		{`{"size": -1}`, transfer.ErrBadPayload},
		{`{"size": 99999999999999999999}`, transfer.ErrBadPayload},
		{`{"sha256": 5}`, transfer.ErrBadPayload},
		{`{"sha256": "abc"}`, transfer.ErrBadPayload},
		{`{"sha256": "` + strings.Repeat("zz", 32) + `"}`, transfer.ErrBadPayload},
		{`null`, transfer.ErrBadPayload},
		{`[]`, transfer.ErrBadPayload},
		{`"x"`, transfer.ErrBadPayload},
		{`{`, transfer.ErrBadPayload},
		{"\xff\x00", transfer.ErrBadPayload},
	}
	for _, c := range cases {
		transfertest.Must(t, b.remove(t, "k"))
		_, err := b.sync(t, "k", c.payload)
		if !errors.Is(err, c.want) {
			t.Errorf("payload %s: %v, want %v", c.payload, err, c.want)
		}
		if err != nil {
			transfertest.WantAbsent(t, b.target, "k")
		}
	}
	transfertest.WantNoStaging(t, b.target)
}

func TestFileMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "file", "x")
	for _, key := range []string{"none", "no/ne", "file/below"} {
		_, err := b.sync(t, key, "")
		transfertest.WantError(t, err, transfer.ErrMissing)
	}
	transfertest.WantAbsent(t, b.target, "no")
}

func TestFileNotRegularAtSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	outside := t.TempDir()
	transfertest.Write(t, outside, "secret", "secret")
	transfertest.Must(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(b.source, "link")))
	transfertest.Must(t, os.Symlink(outside, filepath.Join(b.source, "folder")))
	transfertest.Must(t, unix.Mkfifo(filepath.Join(b.source, "fifo"), 0o644))
	transfertest.Must(t, os.Mkdir(filepath.Join(b.source, "dir"), 0o755))
	for _, key := range []string{"link", "folder/secret", "fifo", "dir"} {
		_, err := b.sync(t, key, "")
		transfertest.WantError(t, err, transfer.ErrUnsafe)
		transfertest.WantAbsent(t, b.target, key)
	}
}

// meddler changes the source after the first read.
type meddler struct {
	transfer.Source
	meddle func()
}

// Open implements [transfer.Source].
func (m meddler) Open(ctx context.Context, path string) (transfer.Object, error) {
	o, err := m.Source.Open(ctx, path)
	return withAttributes{transfertest.Meddle(o, m.meddle), o}, err
}

// withAttributes is an object with the attributes of another one.
type withAttributes struct {
	transfer.Object
	of transfer.Object
}

func (o withAttributes) attributes() attributes { return attributesFor(o.of) }

func TestFileChangesDuringCopy(t *testing.T) {
	t.Parallel()
	const before = "0123456789"
	sum := fmt.Sprintf(`{"sha256": "%x"}`, sha256.Sum256([]byte(before)))
	cases := map[string]struct {
		payload string
		meddle  func(t *testing.T, path string)
		want    error
	}{
		"grows":                            {"", func(t *testing.T, path string) { transfertest.AppendTo(t, path, "more") }, transfer.ErrChanged},
		"grows, with a sum":                {sum, func(t *testing.T, path string) { transfertest.AppendTo(t, path, "more") }, transfer.ErrChanged},
		"shrinks":                          {"", func(t *testing.T, path string) { transfertest.Must(t, os.Truncate(path, 3)) }, transfer.ErrChanged},
		"replaced":                         {"", func(t *testing.T, path string) { replace(t, path, "abcdefghij") }, transfer.ErrChanged},
		"replaced, old bytes have the sum": {sum, func(t *testing.T, path string) { replace(t, path, "abcdefghij") }, nil},
		"rewritten":                        {"", func(t *testing.T, path string) { transfertest.Must(t, os.WriteFile(path, []byte("abcdefghij"), 0o644)) }, transfer.ErrChanged},
		"rewritten, with a sum":            {sum, func(t *testing.T, path string) { transfertest.Must(t, os.WriteFile(path, []byte("abcdefghij"), 0o644)) }, transfer.ErrChanged},
		"vanishes":                         {"", func(t *testing.T, path string) { transfertest.Must(t, os.Remove(path)) }, transfer.ErrChanged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.source, "k", before)
			transfertest.Write(t, b.target, "k", "what was there")
			b.Files.source = meddler{b.Files.source, func() { c.meddle(t, filepath.Join(b.source, "k")) }}
			_, err := b.sync(t, "k", c.payload)
			if !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if err != nil {
				transfertest.WantContent(t, b.target, "k", "what was there")
			}
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	transfertest.Must(t, os.WriteFile(path+".new", []byte(text), 0o644))
	transfertest.Must(t, os.Rename(path+".new", path))
}

func TestFileCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *testConfig) { c.BytesPerSecond = 1 })
	transfertest.Write(t, b.source, "k", "slow")
	run, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("claim lost")
	b.Files.source = meddler{b.Files.source, func() { cancel(lost) }}
	_, err = run.Copy(ctx, nil)
	transfertest.WantError(t, err, lost)
	if err := run.Publish(ctx); err == nil || !strings.Contains(err.Error(), "nothing has been copied") {
		t.Fatal(err)
	}
	transfertest.Must(t, run.Close())
	transfertest.WantAbsent(t, b.target, "k")
	transfertest.WantNoStaging(t, b.target)
}

func TestFilePublishHasADeadline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "x")
	run, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	transfertest.WantError(t, run.Publish(over), context.Canceled)
	transfertest.WantAbsent(t, b.target, "k")
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Publish(t.Context())) // again does nothing
	transfertest.Must(t, run.Close())
	run, err = b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	transfertest.WantError(t, run.Remove(over), context.Canceled)
	transfertest.WantContent(t, b.target, "k", "x")
	transfertest.Must(t, run.Close())
}

// Published again when another run has put something else there, or has taken it away, it
// says so, and changes nothing.
func TestPublishedAgainTooLate(t *testing.T) {
	t.Parallel()
	for name, takeOver := range map[string]func(t *testing.T, b *bundle){
		"replaced": func(t *testing.T, b *bundle) { t.Helper(); b.mustSync(t) },
		"removed":  func(t *testing.T, b *bundle) { t.Helper(); transfertest.Must(t, b.remove(t, "a/k")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.source, "a/k", "1")
			run, err := b.Begin(t.Context(), transfer.Place{Key: "a/k", Claim: transfertest.NewClaim()})
			transfertest.Must(t, err)
			_, err = run.Copy(t.Context(), nil)
			transfertest.Must(t, err)
			transfertest.Must(t, run.Publish(t.Context()))
			transfertest.Write(t, b.source, "a/k", "2")
			takeOver(t, b)
			transfertest.WantError(t, run.Publish(t.Context()), transfer.ErrFenced)
			transfertest.Must(t, run.Close())
			if name == "replaced" {
				transfertest.WantContent(t, b.target, "a/k", "2")
			} else {
				transfertest.WantAbsent(t, b.target, "a")
			}
		})
	}
}

func TestFileFolderInPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a", "file")
	transfertest.Must(t, os.MkdirAll(b.target+"/a/empty/folders", 0o755))
	_, err := b.sync(t, "a", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, b.target, "a", "file")

	transfertest.Must(t, b.remove(t, "a"))
	transfertest.Write(t, b.target, "a/b", "another resource's")
	_, err = b.sync(t, "a", "")
	transfertest.WantError(t, err, transfer.ErrOccupied)
	transfertest.WantContent(t, b.target, "a/b", "another resource's")
	transfertest.Must(t, b.remove(t, "a")) // the file "a" is not there
	transfertest.WantContent(t, b.target, "a/b", "another resource's")
	transfertest.Must(t, b.remove(t, "a/b"))
	_, err = b.sync(t, "a", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, b.target, "a", "file")
	transfertest.WantNoStaging(t, b.target)
}

func TestFileInPlaceOfFolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a/b/c", "file")
	transfertest.Write(t, b.target, "a", "another resource's")
	_, err := b.sync(t, "a/b/c", "")
	transfertest.WantError(t, err, transfer.ErrOccupied)
	if !strings.Contains(err.Error(), b.target+"/a is a file") {
		t.Fatalf("%v does not say where", err)
	}
	transfertest.Must(t, b.remove(t, "a/b/c"))
	transfertest.WantContent(t, b.target, "a", "another resource's")
	transfertest.WantNoStaging(t, b.target)
}

func TestOpenFiles(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	transfertest.Must(t, os.Mkdir(filepath.Join(folder, "sub"), 0o755))
	transfertest.Must(t, os.Symlink(folder, filepath.Join(other, "link")))
	cases := map[string]struct{ source, target, message string }{
		"no target":         {folder, "", "no folder"},
		"no source":         {"", folder, "no folder"},
		"a bucket":          {folder, "s3://bucket", "no folder"},
		"missing target":    {folder, folder + "/none", "mkdir"},
		"missing source":    {folder + "/none", other, "no such file"},
		"same":              {folder, folder, "inside each other"},
		"nested":            {folder, folder + "/sub", "inside each other"},
		"nested by a link":  {folder, other + "/link/sub", "inside each other"},
		"target around":     {folder + "/sub", folder, "inside each other"},
		"file URL, host":    {"file://" + folder[1:], other, "three slashes"},
		"password redacted": {folder, "s3://me:secret@bucket", "***@"},
	}
	for name, c := range cases {
		files, err := openFolders(c.source, c.target)
		if err == nil {
			_ = files.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error is %v, want %q", name, err, c.message)
		}
	}
	files, err := openFolders("file://"+folder, "file://"+other)
	transfertest.Must(t, err)
	transfertest.Must(t, files.Close())
}
