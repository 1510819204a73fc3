package git

import (
	"context"
	"os"

	"casq/transfer"
	"casq/transfer/folder"
)

// Walk calls each for the mirrors below a prefix whose keys are above after, in the
// order of the bytes of their keys, and ends with its first error. Memory does not grow
// with the target. What comes or goes meanwhile may be named or not.
func (r *Repositories) Walk(ctx context.Context, prefix, after string, each func(transfer.Placed) error) error {
	// One that is exchanged changes itself, one that is updated in place its refs.
	return r.target.Walk(ctx, prefix, folder.Walk{After: after, Each: each, Sort: sortMirror, Parts: []string{"", "/refs"}})
}

// sortMirror sees mirrors, and no files.
func sortMirror(dir *os.File, entry os.DirEntry) (string, error) {
	if !entry.IsDir() {
		return "", nil
	}
	mirror, err := folder.IsMirror(dir, entry.Name())
	if mirror || err != nil {
		return entry.Name(), err
	}
	return entry.Name() + "/", nil
}
