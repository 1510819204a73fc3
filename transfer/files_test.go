package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/unguarded"

	"gocloud.dev/blob/memblob"
	"golang.org/x/sys/unix"
)

type filesBundle struct {
	*Files
	source, target string
	unfenced       bool // a naive twin
}

// filesSetup is a config with a folder as the source.
type filesSetup struct {
	FilesConfig
	SourceURL string
}

func (s filesSetup) open() (*Files, error) {
	source, err := OpenFolderSource(s.SourceURL, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	s.Source = source
	return OpenFiles(s.FilesConfig)
}

func openFolders(source, target string) (*Files, error) {
	return filesSetup{SourceURL: source, FilesConfig: FilesConfig{Target: target}}.open()
}

func setupFiles(t *testing.T, configure ...func(*filesSetup)) *filesBundle {
	t.Helper()
	b := &filesBundle{source: t.TempDir(), target: t.TempDir()}
	setup := filesSetup{SourceURL: b.source, FilesConfig: FilesConfig{Target: b.target}}
	for _, f := range configure {
		f(&setup)
	}
	b.target = strings.TrimPrefix(setup.Target, "file://")
	files, err := setup.open()
	must(t, err)
	t.Cleanup(func() { must(t, files.Close()) })
	b.Files = files
	return b
}

// Begin is that of the files, or of a naive twin.
func (b *filesBundle) Begin(ctx context.Context, place Place) (run Run, err error) {
	if !b.unfenced {
		return b.Files.Begin(ctx, place)
	}
	err = unguarded.Target(b.target).Around(func() (err error) {
		run, err = b.Files.Begin(ctx, place)
		return err
	})
	return run, err
}

// sync does a whole run and closes it.
func (b *filesBundle) sync(t *testing.T, key, payload string) (Result, error) {
	t.Helper()
	run, err := b.Begin(t.Context(), Place{Key: key, Claim: claim()})
	if err != nil {
		return Result{}, err
	}
	result, err := run.Copy(t.Context(), json.RawMessage(payload))
	if err == nil {
		err = run.Publish(t.Context())
	}
	return result, errors.Join(err, run.Close())
}

func (b *filesBundle) remove(t *testing.T, key string) error {
	t.Helper()
	run, err := b.Begin(t.Context(), Place{Key: key, Claim: claim()})
	if err != nil {
		return err
	}
	return errors.Join(run.Remove(t.Context()), run.Close())
}

func TestFilePublishAndRemove(t *testing.T) {
	t.Parallel()
	odd := []string{
		"plain", "a/b/c", ".hidden", "..double", "sp ace", "ünï/çödé", "-rf", "--", "%2e%2e", `back\slash`,
		"quote'\"", "star*?", "a:b", "{key}", "x.lock", strings.Repeat("n", 255), ".git/config", "deep/.casq/x", "~",
	}
	for _, walk := range []bool{false, true} {
		t.Run(fmt.Sprintf("walk=%v", walk), func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			b.Files.target.now.walk = walk
			if folder, ok := b.Files.source.(*FolderSource); ok {
				folder.Folder().now.walk = walk
			}
			for _, key := range odd {
				write(t, b.source, key, "bytes of "+key)
				result, err := b.sync(t, key, "")
				must(t, err)
				want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("bytes of "+key)))
				if result.Checksum != want || result.Size != int64(len("bytes of "+key)) {
					t.Fatalf("%q: result %+v, want %s", key, result, want)
				}
				wantContent(t, b.target, key, "bytes of "+key)
			}
			wantNoStaging(t, b.target)
			for _, key := range odd {
				must(t, b.remove(t, key))
				must(t, b.remove(t, key)) // what is not there is removed
			}
			entries, err := os.ReadDir(b.target)
			must(t, err)
			if len(entries) != 1 || entries[0].Name() != stagingRoot {
				t.Fatalf("target holds %v, want only %s", entries, stagingRoot)
			}
		})
	}
}

func TestFileEmptyReplacedAndMode(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "a/x", "")
	must(t, os.Chmod(b.source+"/a/x", 0o700))
	result, err := b.sync(t, "a/x", `{"size": 0, "sha256": "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "more": [1]}`)
	must(t, err)
	if result.Size != 0 {
		t.Fatal(result)
	}
	info, err := os.Stat(b.target + "/a/x")
	must(t, err)
	if info.Mode() != 0o700 {
		t.Fatalf("mode is %v", info.Mode())
	}
	write(t, b.source, "a/x", "second")
	_, err = b.sync(t, "a/x", "{}")
	must(t, err)
	wantContent(t, b.target, "a/x", "second")
}

func TestFilePrefix(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "from/k", "v")
	run, err := b.Begin(t.Context(), Place{Prefix: "pre/fix", SourcePrefix: "from", Key: "k", Claim: claim()})
	must(t, err)
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	wantAbsent(t, b.target, "pre")
	must(t, run.Publish(t.Context()))
	must(t, run.Publish(t.Context())) // the transaction may be tried again
	must(t, run.Close())
	must(t, run.Close())
	wantContent(t, b.target, "pre/fix/k", "v")
}

func TestFilePayload(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "content")
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
		{`{"sha256": "` + strings.Repeat("0", 64) + `"}`, ErrChanged},
		{`{"size": 8}`, ErrChanged},
		{`{"size": "7"}`, ErrBadPayload},
		{`{"size": 7.5}`, ErrBadPayload},
		{`{"size": -1}`, ErrBadPayload},
		{`{"size": 99999999999999999999}`, ErrBadPayload},
		{`{"sha256": 5}`, ErrBadPayload},
		{`{"sha256": "abc"}`, ErrBadPayload},
		{`{"sha256": "` + strings.Repeat("zz", 32) + `"}`, ErrBadPayload},
		{`null`, ErrBadPayload},
		{`[]`, ErrBadPayload},
		{`"x"`, ErrBadPayload},
		{`{`, ErrBadPayload},
		{"\xff\x00", ErrBadPayload},
	}
	for _, c := range cases {
		must(t, b.remove(t, "k"))
		_, err := b.sync(t, "k", c.payload)
		if !errors.Is(err, c.want) {
			t.Errorf("payload %s: %v, want %v", c.payload, err, c.want)
		}
		if err != nil {
			wantAbsent(t, b.target, "k")
		}
	}
	wantNoStaging(t, b.target)
}

func TestFileMissing(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "file", "x")
	for _, key := range []string{"none", "no/ne", "file/below"} {
		_, err := b.sync(t, key, "")
		wantError(t, err, ErrMissing)
	}
	wantAbsent(t, b.target, "no")
}

func TestFileNotRegularAtSource(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	outside := t.TempDir()
	write(t, outside, "secret", "secret")
	must(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(b.source, "link")))
	must(t, os.Symlink(outside, filepath.Join(b.source, "folder")))
	must(t, unix.Mkfifo(filepath.Join(b.source, "fifo"), 0o644))
	must(t, os.Mkdir(filepath.Join(b.source, "dir"), 0o755))
	for _, key := range []string{"link", "folder/secret", "fifo", "dir"} {
		_, err := b.sync(t, key, "")
		wantError(t, err, ErrUnsafe)
		wantAbsent(t, b.target, key)
	}
}

// meddler changes the source after the first read.
type meddler struct {
	Source
	meddle func()
}

type meddledObject struct {
	Object
	meddle func()
}

func (m meddler) Open(ctx context.Context, path string) (Object, error) {
	o, err := m.Source.Open(ctx, path)
	return &meddledObject{o, m.meddle}, err
}

func (m *meddledObject) attributes() attributes { return attributesFor(m.Object) }

func (m *meddledObject) Read(p []byte) (int, error) {
	if m.meddle != nil {
		p = p[:1]
	}
	n, err := m.Object.Read(p)
	if m.meddle != nil {
		m.meddle()
		m.meddle = nil
	}
	return n, err
}

func TestFileChangesDuringCopy(t *testing.T) {
	t.Parallel()
	const before = "0123456789"
	sum := fmt.Sprintf(`{"sha256": "%x"}`, sha256.Sum256([]byte(before)))
	cases := map[string]struct {
		payload string
		meddle  func(t *testing.T, path string)
		want    error
	}{
		"grows":                            {"", func(t *testing.T, path string) { appendTo(t, path, "more") }, ErrChanged},
		"grows, with a sum":                {sum, func(t *testing.T, path string) { appendTo(t, path, "more") }, ErrChanged},
		"shrinks":                          {"", func(t *testing.T, path string) { must(t, os.Truncate(path, 3)) }, ErrChanged},
		"replaced":                         {"", func(t *testing.T, path string) { replace(t, path, "abcdefghij") }, ErrChanged},
		"replaced, old bytes have the sum": {sum, func(t *testing.T, path string) { replace(t, path, "abcdefghij") }, nil},
		"rewritten":                        {"", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("abcdefghij"), 0o644)) }, ErrChanged},
		"rewritten, with a sum":            {sum, func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("abcdefghij"), 0o644)) }, ErrChanged},
		"vanishes":                         {"", func(t *testing.T, path string) { must(t, os.Remove(path)) }, ErrChanged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			write(t, b.source, "k", before)
			write(t, b.target, "k", "what was there")
			b.Files.source = meddler{b.Files.source, func() { c.meddle(t, filepath.Join(b.source, "k")) }}
			_, err := b.sync(t, "k", c.payload)
			if !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if err != nil {
				wantContent(t, b.target, "k", "what was there")
			}
			wantNoStaging(t, b.target)
		})
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(text)
	must(t, errors.Join(err, file.Close()))
}

func replace(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path+".new", []byte(text), 0o644))
	must(t, os.Rename(path+".new", path))
}

func TestFileCancelled(t *testing.T) {
	t.Parallel()
	b := setupFiles(t, func(c *filesSetup) { c.BytesPerSecond = 1 })
	write(t, b.source, "k", "slow")
	run, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("claim lost")
	b.Files.source = meddler{b.Files.source, func() { cancel(lost) }}
	_, err = run.Copy(ctx, nil)
	wantError(t, err, lost)
	if err := run.Publish(ctx); err == nil || !strings.Contains(err.Error(), "nothing has been copied") {
		t.Fatal(err)
	}
	must(t, run.Close())
	wantAbsent(t, b.target, "k")
	wantNoStaging(t, b.target)
}

func TestFilePublishHasADeadline(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "k", "x")
	run, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim()})
	must(t, err)
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, run.Publish(over), context.Canceled)
	wantAbsent(t, b.target, "k")
	must(t, run.Publish(t.Context()))
	wantError(t, run.Remove(over), context.Canceled)
	wantContent(t, b.target, "k", "x")
	must(t, run.Close())
}

func TestFileFolderInPlace(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "a", "file")
	must(t, os.MkdirAll(b.target+"/a/empty/folders", 0o755))
	_, err := b.sync(t, "a", "")
	must(t, err)
	wantContent(t, b.target, "a", "file")

	must(t, b.remove(t, "a"))
	write(t, b.target, "a/b", "another resource's")
	_, err = b.sync(t, "a", "")
	wantError(t, err, ErrOccupied)
	wantContent(t, b.target, "a/b", "another resource's")
	must(t, b.remove(t, "a")) // the file "a" is not there
	wantContent(t, b.target, "a/b", "another resource's")
	must(t, b.remove(t, "a/b"))
	_, err = b.sync(t, "a", "")
	must(t, err)
	wantContent(t, b.target, "a", "file")
	wantNoStaging(t, b.target)
}

func TestFileInPlaceOfFolder(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.source, "a/b/c", "file")
	write(t, b.target, "a", "another resource's")
	_, err := b.sync(t, "a/b/c", "")
	wantError(t, err, ErrOccupied)
	if !strings.Contains(err.Error(), b.target+"/a is a file") {
		t.Fatalf("%v does not say where", err)
	}
	must(t, b.remove(t, "a/b/c"))
	wantContent(t, b.target, "a", "another resource's")
	wantNoStaging(t, b.target)
}

func TestFileBucket(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	bucket := memblob.OpenBucket(nil)
	must(t, b.Files.source.Close())
	b.Files.source = &BucketSource{bucket: bucket}
	for _, content := range []string{"", "first", strings.Repeat("long", copyBuffer)} {
		must(t, bucket.WriteAll(t.Context(), "a/k", []byte(content), nil))
		_, err := b.sync(t, "a/k", fmt.Sprintf(`{"size": %d, "sha256": "%x"}`, len(content), sha256.Sum256([]byte(content))))
		must(t, err)
		_, err = b.sync(t, "a/k", "")
		must(t, err)
		wantContent(t, b.target, "a/k", content)
	}
	_, err := b.sync(t, "none", "")
	wantError(t, err, ErrMissing)
	b.Files.source = meddler{b.Files.source, func() {
		must(t, bucket.WriteAll(t.Context(), "a/k", []byte("other"), nil))
	}}
	_, err = b.sync(t, "a/k", "")
	wantError(t, err, ErrChanged)
	b.Files.source = meddler{&BucketSource{bucket: bucket}, func() { must(t, bucket.Delete(t.Context(), "a/k")) }}
	_, err = b.sync(t, "a/k", "")
	wantError(t, err, ErrChanged)
}

func TestOpenFiles(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	must(t, os.Mkdir(filepath.Join(folder, "sub"), 0o755))
	must(t, os.Symlink(folder, filepath.Join(other, "link")))
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
	must(t, err)
	must(t, files.Close())
}
