package file

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestStagingIsListedAndDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if found := transfertest.Staged(t, b); len(found) > 0 {
		t.Fatalf("found %v in an empty target", found)
	}
	transfertest.Write(t, b.source, "a/b", "bytes")
	dead, live := transfer.Place{Key: "a/b", Claim: transfertest.NewClaim()}, transfer.Place{Key: "other", Claim: transfertest.NewClaim()}
	run, err := b.Begin(t.Context(), dead)
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	other, err := b.Begin(t.Context(), live)
	transfertest.Must(t, err)
	// What staging would not have made.
	root := filepath.Join(b.target, transfer.StagingRoot)
	transfertest.Must(t, os.Mkdir(filepath.Join(root, "notes"), 0o755))
	room := filepath.Dir(transfertest.StagedAt(b.target, "a/b", ""))
	transfertest.Must(t, os.Mkdir(filepath.Join(room, "notes"), 0o755))
	transfertest.Must(t, os.WriteFile(filepath.Join(room, transfer.StagingName("a/b")+".claim"), nil, 0o600))
	transfertest.Must(t, os.Symlink("/", filepath.Join(root, "zz")))
	transfertest.Must(t, os.WriteFile(filepath.Join(root, "yy"), nil, 0o600))

	stale, kept := transfer.Staged{Folder: transfer.StagingName("a/b"), Claim: dead.Claim}, transfer.Staged{Folder: transfer.StagingName("other"), Claim: live.Claim}
	if found := transfertest.Staged(t, b); !maps.Equal(found, map[transfer.Staged]bool{stale: true, kept: true}) {
		t.Fatalf("found %v", found)
	}
	for range 2 { // again is no error
		transfertest.Must(t, b.DropStaging(t.Context(), stale))
	}
	transfertest.WantError(t, run.Publish(t.Context()), transfer.ErrFenced)
	if found := transfertest.Staged(t, b); !maps.Equal(found, map[transfer.Staged]bool{kept: true}) {
		t.Fatalf("found %v", found)
	}
	transfertest.Must(t, errors.Join(run.Close(), other.Close()))
}

func TestListingEndsWithItsFirstError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"a", "b"} {
		run, err := b.Begin(t.Context(), transfer.Place{Key: key, Claim: transfertest.NewClaim()})
		transfertest.Must(t, err)
		defer func() { transfertest.Must(t, run.Close()) }()
	}
	calls, stop := 0, errors.New("stop")
	transfertest.WantError(t, b.ListStaging(t.Context(), func(transfer.Staged) error { calls++; return stop }), stop)
	if calls != 1 {
		t.Errorf("went on after the error: %d calls", calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	transfertest.WantError(t, b.ListStaging(ctx, func(transfer.Staged) error { return nil }), context.Canceled)
}

func TestNoOtherNamesAreDropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.target, "precious/"+transfer.StagingName("x"), "bytes")
	folder, own := transfer.StagingName("x"), transfertest.NewClaim()
	for _, s := range []transfer.Staged{
		{Folder: "", Claim: own}, {Folder: "..", Claim: own}, {Folder: "../precious", Claim: own}, {Folder: folder + "/..", Claim: own}, {Folder: folder[1:], Claim: own},
		{Folder: folder, Claim: ""}, {Folder: folder, Claim: ".."}, {Folder: folder, Claim: "."}, {Folder: folder, Claim: own + "/x"}, {Folder: folder, Claim: "../../precious"},
		{Folder: "F" + folder[1:], Claim: own}, {Folder: "g" + folder[1:], Claim: own},
	} {
		transfertest.WantError(t, b.DropStaging(t.Context(), s), transfer.ErrBadPlace)
	}
	transfertest.WantContent(t, b.target, "precious/"+transfer.StagingName("x"), "bytes")
}
