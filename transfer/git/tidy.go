package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

const (
	// manyPacks is from how many packs on a mirror is repacked: every fetch adds
	// one, and each makes every look-up slower.
	manyPacks = 64
	// manyLooseRefs is from how many files on refs are put into one: each run
	// reads all of them.
	manyLooseRefs = 1000
	// unreachableFor is how long a mirror keeps what no ref reaches any more, at
	// the most until the next copy or verification after that: what the source has
	// deleted and pruned is not to be had here for ever.
	unreachableFor = 30 * 24 * time.Hour
	// packedName is a file in each mirror, as old as its last full repack.
	packedName = "casq.packed"
	// untidyName is a file in a mirror, as old as the last time that tidying it up
	// went wrong. For restFor after that it is left as it is: where a disk is too full
	// for another pack of everything, each copy would fill it again.
	untidyName = "casq.untidy"
	restFor    = 24 * time.Hour
)

// tidy keeps a mirror as cheap as it was when it was cloned. It is called before
// anything is fetched, so that all refs are the mirror's. A failure costs speed and
// nothing else, unless it shows that the mirror is damaged.
func (r *repositoryRun) tidy(ctx context.Context) error {
	if failed, there, err := r.place.written(untidyName); err != nil || there && time.Since(failed).Abs() < restFor {
		return err
	}
	for _, task := range []struct {
		due func(context.Context) (bool, error)
		do  func(context.Context) error
	}{
		{r.manyLoose, r.packRefs},
		{r.holdsUnreachable, r.repackAll},
		{r.manyPacks, r.repack},
	} {
		due, err := task.due(ctx)
		if due && err == nil {
			err = task.do(ctx)
		}
		switch {
		case ctx.Err() != nil, damaged(err):
			return err
		case err != nil:
			err = errors.Join(err, folder.WriteFile(r.place.dir, untidyName, ""))
			r.log.Warn("tidying a mirror up went wrong, trying again in a day", "err", err)
			return nil
		}
	}
	return nil
}

func (r *repositoryRun) manyLoose(context.Context) (bool, error) {
	return r.place.looseRefs >= r.repositories.looseRefs, nil
}

func (r *repositoryRun) packRefs(ctx context.Context) error {
	_, err := r.place.run(ctx, gitCall{args: []string{"-c", "core.fsync=all", "pack-refs", "--all", "--prune"}})
	return err
}

func (r *repositoryRun) manyPacks(context.Context) (bool, error) {
	packs, err := r.place.packs()
	return packs >= manyPacks, err
}

// repack rolls small packs up into larger ones, each at least twice the size of
// the next, so that an object is rewritten a logarithmic number of times. No object
// is dropped.
func (r *repositoryRun) repack(ctx context.Context) error {
	_, err := r.place.run(ctx, gitCall{args: []string{"-c", "core.fsync=all", "repack", "-d", "-q", "--geometric=2"}})
	return err
}

func (r *repositoryRun) holdsUnreachable(context.Context) (bool, error) {
	return r.place.packedBefore(time.Now().Add(-r.repositories.unreachable))
}

// repackAll puts all that the refs reach into one pack, and drops the rest. Who
// is cloning a ref that was deleted a moment ago may fail, and finds it gone when he
// tries again.
func (r *repositoryRun) repackAll(ctx context.Context) error {
	_, err := r.place.run(ctx, gitCall{args: []string{"-c", "core.fsync=all", "repack", "-a", "-d", "-q"}})
	if err != nil {
		return err
	}
	return r.place.markPacked()
}

func (m *mirror) markPacked() error { return folder.WriteFile(m.dir, packedName, "") }

// packedBefore tells whether the last full repack was before a time. Of a mirror
// without the mark it is not known, and begins to be.
func (m *mirror) packedBefore(at time.Time) (bool, error) {
	last, there, err := m.written(packedName)
	if err != nil || there {
		return there && last.Before(at), err
	}
	if m.reads {
		return false, nil
	}
	return false, m.markPacked()
}

// written is when a file right below the mirror was written, if it is there.
func (m *mirror) written(name string) (at time.Time, there bool, err error) {
	st, err := folder.StatAt(int(m.dir.Fd()), name)
	if errors.Is(err, unix.ENOENT) {
		return at, false, nil
	}
	if err != nil {
		return at, false, &os.PathError{Op: "stat", Path: m.dir.Name() + "/" + name, Err: err}
	}
	return time.Unix(st.Mtim.Unix()), true, nil
}

func (m *mirror) packs() (int, error) {
	dir, err := folder.OpenChild(m.dir, "objects/pack")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	count := 0
	for _, name := range names {
		if strings.HasSuffix(name, ".pack") {
			count++
		}
	}
	return count, err
}

// emptyBlobs are what fences point to, for SHA-1 and SHA-256. No ref reaches them
// in between.
var emptyBlobs = map[string]bool{
	"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391":                         true,
	"473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813": true,
}

// dangling returns [transfer.ErrMismatch] if git's fsck has named objects that no ref
// reaches.
func dangling(fsck string) error {
	for line := range strings.Lines(fsck) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "dangling" && !emptyBlobs[fields[2]] {
			return fmt.Errorf("%w: it has kept what no ref reaches for more than its time, such as %s %s", transfer.ErrMismatch, fields[1], fields[2])
		}
	}
	return nil
}
