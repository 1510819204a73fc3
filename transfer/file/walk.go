package file

import (
	"context"
	"os"

	"casq/transfer"
	"casq/transfer/folder"
)

// Walk calls each for the files below a prefix whose keys are above after, in the
// order of the bytes of their keys, and ends with its first error. Memory does
// not grow with the target. What comes or goes meanwhile may be named or not. What
// no run would have put there (links, other names than keys can have, mirrors of
// repositories) is not named, and neither is what lies below a mount point.
func (f *Files) Walk(ctx context.Context, prefix, after string, each func(transfer.Placed) error) error {
	return f.target.Walk(ctx, prefix, folder.Walk{After: after, Each: each, Sort: sortFile, Parts: []string{""}})
}

// sortFile sees files, in all folders but those of mirrors, which may be in a
// target that was used for both once.
func sortFile(dir *os.File, entry os.DirEntry) (string, error) {
	switch {
	case entry.Type().IsRegular():
		return entry.Name(), nil
	case !entry.IsDir():
		return "", nil
	}
	mirror, err := folder.IsMirror(dir, entry.Name())
	if mirror || err != nil {
		return "", err
	}
	return entry.Name() + "/", nil
}
