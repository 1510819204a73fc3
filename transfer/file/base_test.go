package file

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

func placeOf(key string) transfer.Place {
	return transfer.Place{Key: key, Claim: transfertest.NewClaim()}
}

// A file that has got another key is made of the copy under the old one, where that has the
// sum that the event names; the source has other bytes, so that a copy would fail.
func TestAMovedFileIsMadeOfItsCopy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		payload string
		old     func(t *testing.T, path string)
		want    error
	}{
		"as it should be": {want: nil},
		"another sum":     {payload: "other", want: transfer.ErrChanged},
		"another mode":    {old: func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.Chmod(path, 0o600)) }, want: transfer.ErrChanged},
		"gone":            {old: func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.Remove(path)) }, want: transfer.ErrChanged},
		"damaged": {old: func(t *testing.T, path string) {
			t.Helper()
			info, err := os.Stat(path)
			transfertest.Must(t, err)
			transfertest.Must(t, os.WriteFile(path, []byte("bxtes"), 0o644))
			transfertest.Must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, want: transfer.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.source, "old", "bytes")
			_, err := transfertest.Sync(t, b, placeOf("old"), `{}`)
			transfertest.Must(t, err)
			info, err := os.Stat(filepath.Join(b.source, "old"))
			transfertest.Must(t, err)
			transfertest.Write(t, b.source, "new", "bytex")
			transfertest.Must(t, os.Chtimes(filepath.Join(b.source, "new"), info.ModTime(), info.ModTime()))
			if test.old != nil {
				test.old(t, filepath.Join(b.target, "old"))
			}
			place := placeOf("new")
			place.Base = &transfer.Base{Path: "old", Incarnation: 1}
			payload := "bytes"
			if test.payload != "" {
				payload = test.payload
			}
			_, err = transfertest.Sync(t, b, place, string(named(payload)))
			transfertest.WantError(t, err, test.want)
			if test.want != nil {
				transfertest.WantAbsent(t, b.target, "new")
				return
			}
			transfertest.WantContent(t, b.target, "new", "bytes")
			transfertest.WantContent(t, b.target, "old", "bytes")
			transfertest.Must(t, transfertest.Remove(t, b, placeOf("old")))
			transfertest.WantContent(t, b.target, "new", "bytes")
			transfertest.WantNoStaging(t, b.target)
		})
	}
}

// Two files exchange their keys, and a third one takes a key that has moved away.
func TestWhatIsReplacedIsPutAside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"a", "b"} {
		transfertest.Write(t, b.source, key, "of "+key)
		_, err := transfertest.Sync(t, b, placeOf(key), `{}`)
		transfertest.Must(t, err)
	}
	for _, m := range [][2]string{{"a", "x"}, {"b", "a"}, {"x", "b"}} {
		transfertest.Must(t, os.Rename(filepath.Join(b.source, m[0]), filepath.Join(b.source, m[1])))
	}
	ofB, _ := transfertest.Inode(t, filepath.Join(b.target, "b"))
	for _, m := range [][2]string{{"a", "b"}, {"b", "a"}} {
		place := placeOf(m[0])
		place.Aside, place.Base = 1, &transfer.Base{Path: m[1], Incarnation: 1}
		_, err := transfertest.Sync(t, b, place, string(named("of "+m[1])))
		transfertest.Must(t, err)
		transfertest.WantContent(t, b.target, m[0], "of "+m[1])
	}
	if now, _ := transfertest.Inode(t, filepath.Join(b.target, "a")); now != ofB {
		t.Error("a was copied, and not made of b")
	}
	names, err := b.ListAside(t.Context())
	transfertest.Must(t, err)
	slices.Sort(names)
	want := []string{transfer.AsideName("a", 1), transfer.AsideName("b", 1)}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("aside are %q; want %q", names, want)
	}
}

// A run that puts aside, and is stopped until a later one has put another file in place,
// puts nothing aside any more.
func TestALateRunPutsNothingAside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a", "first")
	_, err := transfertest.Sync(t, b, placeOf("a"), `{}`)
	transfertest.Must(t, err)
	transfertest.Write(t, b.source, "a", "second")

	late, err := b.TargetFolder().Begin(t.Context(), "a", transfertest.NewClaim())
	transfertest.Must(t, err)
	err = late.SetAside(t.Context(), 1, isFile, func(parent *os.File, name string, into *os.File, as string) error {
		_, err := transfertest.Sync(t, b, placeOf("a"), `{}`)
		transfertest.Must(t, err)
		return late.Tree().Link(parent, name, into, as)
	})
	transfertest.WantError(t, err, transfer.ErrFenced)
	transfertest.Must(t, late.Drop(t.Context(), false))

	late, err = b.TargetFolder().Begin(t.Context(), "a", transfertest.NewClaim())
	transfertest.Must(t, err)
	err = late.SetAside(t.Context(), 2, isFile, func(parent *os.File, name string, into *os.File, as string) error {
		err := late.Tree().Link(parent, name, into, as)
		transfertest.Write(t, b.source, "a", "third")
		_, sync := transfertest.Sync(t, b, placeOf("a"), `{}`)
		transfertest.Must(t, sync)
		return err
	})
	transfertest.WantError(t, err, transfer.ErrFenced)
	transfertest.Must(t, late.Drop(t.Context(), false))
	if names, err := b.ListAside(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("aside are %q, %v", names, err)
	}
	transfertest.WantContent(t, b.target, "a", "third")
}

// Where there are no hard links, or no more of a file, a moved file and what is put aside are
// copied.
func TestMovesWithoutHardLinks(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{unix.EPERM, unix.EOPNOTSUPP, unix.EMLINK} {
		t.Run(refusal.Error(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.TargetFolder().UseLinkat(func(int, string, int, string, int) error { return refusal })
			transfertest.Write(t, b.source, "old", "bytes")
			_, err := transfertest.Sync(t, b, placeOf("old"), `{}`)
			transfertest.Must(t, err)
			info, err := os.Stat(filepath.Join(b.source, "old"))
			transfertest.Must(t, err)
			transfertest.Write(t, b.source, "new", "bytex")
			transfertest.Must(t, os.Chtimes(filepath.Join(b.source, "new"), info.ModTime(), info.ModTime()))
			place := placeOf("new")
			place.Base = &transfer.Base{Path: "old", Incarnation: 1}
			result, err := transfertest.Sync(t, b, place, string(named("bytes")))
			transfertest.Must(t, err)
			if result.Held != 5 {
				t.Errorf("%+v: it was fetched", result)
			}
			transfertest.WantContent(t, b.target, "new", "bytes")
			if is, err := os.Stat(filepath.Join(b.target, "new")); err != nil || is.Mode() != info.Mode() || !is.ModTime().Equal(info.ModTime()) {
				t.Error(is, err)
			}
			transfertest.Write(t, b.source, "old", "the next one's")
			place = placeOf("old")
			place.Aside = 1
			_, err = transfertest.Sync(t, b, place, `{}`)
			transfertest.Must(t, err)
			transfertest.WantContent(t, b.target, filepath.Join(".casq", "moved", transfer.AsideName("old", 1)), "bytes")
			transfertest.WantContent(t, b.target, "old", "the next one's")
			if _, without := b.TargetFolder().WithoutLinks(); without != !errors.Is(refusal, unix.EMLINK) {
				t.Errorf("known to have no links: %t", without)
			}
		})
	}
}
