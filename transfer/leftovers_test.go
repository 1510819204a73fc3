package transfer

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

type leftovers interface {
	ListStaging(ctx context.Context, each func(Staged) error) error
	DropStaging(ctx context.Context, s Staged) error
}

func listed(t *testing.T, l leftovers) map[Staged]bool {
	t.Helper()
	found := map[Staged]bool{}
	must(t, l.ListStaging(t.Context(), func(s Staged) error {
		if found[s] {
			t.Errorf("%v is named twice", s)
		}
		found[s] = true
		return nil
	}))
	return found
}

func TestStagingIsListedAndDropped(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	if found := listed(t, b); len(found) > 0 {
		t.Fatalf("found %v in an empty target", found)
	}
	write(t, b.source, "a/b", "bytes")
	dead, live := Place{Key: "a/b", Claim: claim()}, Place{Key: "other", Claim: claim()}
	run, err := b.Begin(t.Context(), dead)
	must(t, err)
	_, err = run.Copy(t.Context(), nil)
	must(t, err)
	other, err := b.Begin(t.Context(), live)
	must(t, err)
	// What staging would not have made.
	root := filepath.Join(b.target, stagingRoot)
	must(t, os.Mkdir(filepath.Join(root, "notes"), 0o755))
	must(t, os.Mkdir(filepath.Join(root, stagingName("a/b"), "notes"), 0o755))
	must(t, os.Symlink("/", filepath.Join(root, stagingName("link"))))
	must(t, os.WriteFile(filepath.Join(root, stagingName("file")), nil, 0o600))

	stale, kept := Staged{Folder: stagingName("a/b"), Claim: dead.Claim}, Staged{Folder: stagingName("other"), Claim: live.Claim}
	if found := listed(t, b); !maps.Equal(found, map[Staged]bool{stale: true, kept: true}) {
		t.Fatalf("found %v", found)
	}
	for range 2 { // again is no error
		must(t, b.DropStaging(t.Context(), stale))
	}
	wantError(t, run.Publish(t.Context()), ErrFenced)
	if found := listed(t, b); !maps.Equal(found, map[Staged]bool{kept: true}) {
		t.Fatalf("found %v", found)
	}
	must(t, errors.Join(run.Close(), other.Close()))
}

func TestStagingIsDroppedWhileItIsListed(t *testing.T) {
	t.Parallel()
	b := setupRepositories(t)
	const all = 20
	for i := range all {
		_, err := b.Begin(t.Context(), b.place(string(rune('a'+i))))
		must(t, err)
	}
	dropped := 0
	must(t, b.ListStaging(t.Context(), func(s Staged) error {
		dropped++
		return b.DropStaging(t.Context(), s)
	}))
	if dropped != all {
		t.Errorf("dropped %d of %d", dropped, all)
	}
	wantNoStaging(t, b.target)
}

func TestListingEndsWithItsFirstError(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	for _, key := range []string{"a", "b"} {
		run, err := b.Begin(t.Context(), Place{Key: key, Claim: claim()})
		must(t, err)
		defer func() { must(t, run.Close()) }()
	}
	calls, stop := 0, errors.New("stop")
	wantError(t, b.ListStaging(t.Context(), func(Staged) error { calls++; return stop }), stop)
	if calls != 1 {
		t.Errorf("went on after the error: %d calls", calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, b.ListStaging(ctx, func(Staged) error { return nil }), context.Canceled)
}

func TestNoOtherNamesAreDropped(t *testing.T) {
	t.Parallel()
	b := setupFiles(t)
	write(t, b.target, "precious/"+stagingName("x"), "bytes")
	folder, own := stagingName("x"), claim()
	for _, s := range []Staged{
		{"", own}, {"..", own}, {"../precious", own}, {folder + "/..", own}, {folder[1:], own},
		{folder, ""}, {folder, ".."}, {folder, "."}, {folder, own + "/x"}, {folder, "../../precious"},
		{"F" + folder[1:], own}, {"g" + folder[1:], own},
	} {
		wantError(t, b.DropStaging(t.Context(), s), ErrBadPlace)
	}
	wantContent(t, b.target, "precious/"+stagingName("x"), "bytes")
}
