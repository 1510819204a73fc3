package folder

import (
	"errors"
	"fmt"
	"io"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// maxRecord bounds what is read of the record of a target that was given up, in bytes.
const maxRecord = 256 << 20

// Retire gives the folder up as a target: its mark goes, and the record, which is written
// first, tells why. Every run that compares the mark fails from then on, in whichever
// process, and no worker takes the folder for its target again.
func (r *Root) Retire(record []byte) error {
	t, err := r.reopen()
	if err != nil {
		return err
	}
	defer func() { _ = t.close() }()
	if err := t.retire(record); err != nil {
		return fmt.Errorf("give %s up as a target: %w", t.name, err)
	}
	return nil
}

func (t *Tree) retire(record []byte) error {
	if err := mkdirPrivate(t.root, transfer.StagingRoot); err != nil {
		return err
	}
	dir, err := t.OpenDir(transfer.StagingRoot)
	if err != nil {
		return err
	}
	defer dir.Close()
	const draft = transfer.RetiredName + ".new"
	if err := WriteFile(dir, draft, string(record)); err != nil {
		return err
	}
	if err := Rename(dir, draft, dir, transfer.RetiredName, 0); err != nil {
		return err
	}
	if err := dir.Sync(); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(dir.Fd()), transfer.MarkName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return errors.Join(dir.Sync(), t.root.Sync())
}

// Retired is the record of a folder that was given up; nil: it was not. A record beside a
// mark is of a try that did not come to its end.
func (r *Root) Retired() ([]byte, error) {
	t, err := r.reopen()
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.close() }()
	if mark, _, err := t.readMark(); err != nil || mark.ID != "" {
		return nil, err
	}
	file, err := t.OpenFile(transfer.StagingRoot + "/" + transfer.RetiredName)
	if Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read why it is no target any more: %w", err)
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxRecord))
}
