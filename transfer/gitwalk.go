package transfer

import (
	"context"
	"os"
)

// Walk is that of [Files], for mirrors.
func (r *Repositories) Walk(ctx context.Context, prefix, after string, each func(Placed) error) error {
	// One that is exchanged changes itself, one that is updated in place its refs.
	return r.target.walk(ctx, prefix, walk{after: after, each: each, sort: sortMirror, parts: []string{"", "/refs"}})
}

// sortMirror sees mirrors, and no files.
func sortMirror(dir *os.File, entry os.DirEntry) (string, error) {
	if !entry.IsDir() {
		return "", nil
	}
	mirror, err := isMirror(dir, entry.Name())
	if mirror || err != nil {
		return entry.Name(), err
	}
	return entry.Name() + "/", nil
}
