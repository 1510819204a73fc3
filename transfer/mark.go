package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sys/unix"
)

// Mark is what a target holds so that it can be told from every other folder: from
// the empty one below a file system that is not mounted, and from another site's.
// It is the file .casq/target.
type Mark struct {
	// ID is the target's, a UUID.
	ID string `json:"target"`
	// Transfer says of what it is a target.
	Transfer string `json:"transfer"`
	// Home names the database that made the mark.
	Home string `json:"home"`
}

// markName is the mark's name in the staging folder, where no key leads to.
const markName = "target"

// maxMark bounds what is read of it, in bytes.
const maxMark = 4 << 10

// Mark reads the target's mark; the zero Mark if it has none.
func (f *Files) Mark(ctx context.Context) (Mark, error) {
	if f.bucket != nil {
		return f.bucket.readMark(ctx)
	}
	return f.target.readMark()
}

// Keep has the mark compared from now on, before and after
// everything that is done to it; create puts it there first. It may be called again,
// with another mark.
func (f *Files) Keep(ctx context.Context, mark Mark, create bool) error {
	if f.bucket == nil {
		return f.target.keep(mark, create)
	}
	if !create {
		return nil // a bucket cannot be exchanged under its name
	}
	return f.bucket.writeMark(ctx, mark)
}

// Mark is that of [Files].
func (r *Repositories) Mark(context.Context) (Mark, error) { return r.target.readMark() }

// Keep is that of [Files].
func (r *Repositories) Keep(_ context.Context, mark Mark, create bool) error {
	return r.target.keep(mark, create)
}

// readMark reads that of the folder that has the name, whichever it is.
func (r *root) readMark() (Mark, error) {
	t, err := r.reopen()
	if err != nil {
		return Mark{}, err
	}
	defer func() { _ = t.close() }()
	mark, _, err := t.readMark()
	return mark, err
}

func (r *root) keep(mark Mark, create bool) error {
	if create {
		t, err := r.reopen()
		if err != nil {
			return err
		}
		defer func() { _ = t.close() }()
		if err := t.writeMark(mark); err != nil {
			return fmt.Errorf("mark %s as a target: %w", t.name, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mark = &mark
	r.now.mark.Store(&mark)
	return r.probe()
}

// writeMark makes the mark durable. It appears complete: it is written beside
// its name first.
func (t *tree) writeMark(mark Mark) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	if err := mkdirPrivate(t.root, stagingRoot); err != nil {
		return err
	}
	dir, err := t.openDir(stagingRoot)
	if err != nil {
		return err
	}
	defer dir.Close()
	const draft = markName + ".new"
	if err := writeFile(dir, draft, string(text)+"\n"); err != nil {
		return err
	}
	if err := rename(dir, draft, dir, markName, 0); err != nil {
		return err
	}
	return errors.Join(dir.Sync(), t.root.Sync())
}

// markFile tells one file of a mark from others, and from itself with other
// content. An inode number alone is used again at once.
type markFile struct {
	dev, ino uint64
	changed  unix.Timespec
}

// seenMark is the mark that was found last, and where.
type seenMark struct {
	mark Mark
	in   markFile
}

func markFileOf(st unix.Stat_t) markFile { return markFile{st.Dev, st.Ino, st.Ctim} }

// readMark returns the mark and the file that it is in.
func (t *tree) readMark() (mark Mark, in markFile, err error) {
	file, err := t.open(stagingRoot+"/"+markName, fileFlags)
	if absent(err) {
		return mark, in, nil
	}
	if err != nil {
		return mark, in, fmt.Errorf("read the target's mark: %w", err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return mark, in, fmt.Errorf("read the target's mark: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxMark))
	if err != nil {
		return mark, in, fmt.Errorf("read the target's mark: %w", err)
	}
	mark, err = parseMark(text, file.Name())
	return mark, markFileOf(st), err
}

func parseMark(text []byte, at string) (mark Mark, err error) {
	if err := json.Unmarshal(text, &mark); err != nil || mark.ID == "" {
		return Mark{}, fmt.Errorf("%w: %s is not a mark as casq makes it: %q", ErrElsewhere, at, clip(string(text)))
	}
	return mark, nil
}

// marked returns [ErrElsewhere] unless the folder has the mark that it has to
// have. It is read again only when it is another file, or was written to.
func (t *tree) marked() error {
	mark := t.mark.Load()
	if mark == nil {
		return nil
	}
	st, err := statAt(int(t.root.Fd()), stagingRoot+"/"+markName)
	seen := t.markSeen.Load()
	if err == nil && seen != nil && seen.mark == *mark && seen.in == markFileOf(st) {
		return nil
	}
	found, in, err := t.readMark()
	switch {
	case err != nil:
		return err
	case found.ID == "":
		return fmt.Errorf("%w: %s is not marked as this target (%s/%s is missing); mount what belongs there",
			ErrElsewhere, t.name, stagingRoot, markName)
	case found.ID != mark.ID || found.Transfer != mark.Transfer:
		return fmt.Errorf("%w: %s is another target (%s/%s); mount what belongs there", ErrElsewhere, t.name, stagingRoot, markName)
	}
	t.markSeen.Store(&seenMark{*mark, in})
	return nil
}

func (b *bucket) readMark(ctx context.Context) (Mark, error) {
	const key = stagingRoot + "/" + markName
	text, err := b.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, fmt.Errorf("read the target's mark: %w", redacted{err})
	}
	return parseMark(text, key)
}

func (b *bucket) writeMark(ctx context.Context, mark Mark) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	err = b.WriteAll(ctx, stagingRoot+"/"+markName, append(text, '\n'), &blob.WriterOptions{ContentType: "application/json"})
	if err != nil {
		return fmt.Errorf("mark the bucket as a target: %w", redacted{err})
	}
	return nil
}
