package folder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// maxMark bounds what is read of it, in bytes.
const maxMark = 4 << 10

// ReadMark reads that of the folder that has the name, whichever it is.
func (r *Root) ReadMark() (transfer.Mark, error) {
	t, err := r.reopen()
	if err != nil {
		return transfer.Mark{}, err
	}
	defer func() { _ = t.close() }()
	mark, _, err := t.readMark()
	return mark, err
}

// Keep has the mark compared from now on, before and after everything that is done in
// the folder; create puts it there first.
func (r *Root) Keep(mark transfer.Mark, create bool) error {
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
func (t *Tree) writeMark(mark transfer.Mark) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	if err := mkdirPrivate(t.root, transfer.StagingRoot); err != nil {
		return err
	}
	dir, err := t.OpenDir(transfer.StagingRoot)
	if err != nil {
		return err
	}
	defer dir.Close()
	const draft = transfer.MarkName + ".new"
	if err := WriteFile(dir, draft, string(text)+"\n"); err != nil {
		return err
	}
	if err := Rename(dir, draft, dir, transfer.MarkName, 0); err != nil {
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
	mark transfer.Mark
	in   markFile
}

func markFileOf(st unix.Stat_t) markFile { return markFile{st.Dev, st.Ino, st.Ctim} }

// readMark returns the mark and the file that it is in.
func (t *Tree) readMark() (mark transfer.Mark, in markFile, err error) {
	file, err := t.OpenFile(transfer.StagingRoot + "/" + transfer.MarkName)
	if Absent(err) {
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
	mark, err = transfer.ParseMark(text, file.Name())
	return mark, markFileOf(st), err
}

// marked returns [transfer.ErrElsewhere] unless the folder has the mark that it has to
// have. It is read again only when it is another file, or was written to.
func (t *Tree) marked() error {
	mark := t.mark.Load()
	if mark == nil {
		return nil
	}
	st, err := StatAt(int(t.root.Fd()), transfer.StagingRoot+"/"+transfer.MarkName)
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
			transfer.ErrElsewhere, t.name, transfer.StagingRoot, transfer.MarkName)
	case found.ID != mark.ID || found.Transfer != mark.Transfer:
		return fmt.Errorf("%w: %s is another target (%s/%s); mount what belongs there", transfer.ErrElsewhere, t.name, transfer.StagingRoot, transfer.MarkName)
	}
	t.markSeen.Store(&seenMark{*mark, in})
	return nil
}
