package git

import (
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A repository in place is updated only in the folder that has the name, and so is
// its source read.
func TestRepositoriesInReplacedFolders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Must(t, b.Keep(t.Context(), transfer.Mark{ID: transfertest.NewClaim(), Transfer: "git", Home: "here"}, true))
	dir := b.newSource(t, "r.git")
	b.mustSync(t, "r.git")
	transfertest.Commit(t, dir, "refs/heads/main", "two")
	run, err := b.Begin(t.Context(), b.place("r.git"))
	transfertest.Must(t, err)
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	moved := transfertest.Swap(t, b.target, false)
	transfertest.WantError(t, run.Publish(t.Context()), transfer.ErrElsewhere)
	transfertest.Must(t, run.Close())
	transfertest.WantError(t, b.Check(), transfer.ErrElsewhere)
	transfertest.WantError(t, b.Verify(t.Context(), b.place("r.git"), nil, ""), transfer.ErrElsewhere)
	transfertest.WantError(t, b.remove(t, "r.git"), transfer.ErrElsewhere)
	transfertest.Unswap(t, b.target, moved)
	b.mustSync(t, "r.git")
	b.wantSame(t, "r.git")

	remote, err := b.Repositories.source.remote("r.git")
	transfertest.Must(t, err)
	transfertest.Must(t, remote.unchanged())
	transfertest.Swap(t, b.source, false)
	transfertest.WantError(t, remote.unchanged(), transfer.ErrChanged)
	remote.close()
	_, err = b.sync(t, b.place("r.git"))
	transfertest.WantError(t, err, transfer.ErrMissing)
}
