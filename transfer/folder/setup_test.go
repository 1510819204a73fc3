package folder_test

import (
	"context"
	"log/slog"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/file"
	"casq/transfer/folder"
	"casq/transfer/git"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a transfer of some kind between two folders. What folders promise holds
// for all kinds.
type bundle struct {
	mover
	source, target string
}

type mover interface {
	transfertest.Mover
	folder.Folders
	Sweep(ctx context.Context, place transfer.Place) error
	Close() error
}

func setup(t *testing.T, open func(t *testing.T, source, target string) mover) *bundle {
	t.Helper()
	b := &bundle{source: t.TempDir(), target: t.TempDir()}
	b.open(t, open)
	return b
}

func (b *bundle) open(t *testing.T, open func(t *testing.T, source, target string) mover) {
	t.Helper()
	b.mover = open(t, b.source, b.target)
	t.Cleanup(func() { transfertest.Must(t, b.Close()) })
}

func files(t *testing.T, source, target string) mover {
	t.Helper()
	from, err := file.OpenSource(source, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	opened, err := file.Open(file.Config{Source: from, Target: target})
	transfertest.Must(t, err)
	return opened
}

func repositories(t *testing.T, source, target string) mover {
	t.Helper()
	opened, err := git.Open(t.Context(), git.Config{SourceURL: source, TargetDir: target})
	transfertest.Must(t, err)
	return opened
}

func (b *bundle) sync(t *testing.T, key string) (transfer.Result, error) {
	t.Helper()
	return transfertest.Sync(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()}, "")
}

func (b *bundle) remove(t *testing.T, key string) error {
	t.Helper()
	return transfertest.Remove(t, b, transfer.Place{Key: key, Claim: transfertest.NewClaim()})
}

// withoutOpenat2 makes this kernel an old one.
func (b *bundle) withoutOpenat2() {
	folder.WithoutOpenat2(b.SourceFolder())
	folder.WithoutOpenat2(b.TargetFolder())
}
