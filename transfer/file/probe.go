package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Probe tells whether the source's file has another size, or was written at another time,
// than the copy, which has the source's time. It reads no content, writes nothing, and
// needs no claim. A file whose payload names its SHA-256 is what its row says, whatever
// the source has: it never differs. Of a source that is no folder the state is compared that
// it had when the copy was made.
func (f *Files) Probe(ctx context.Context, copied transfer.Copied) (differs bool, err error) {
	if f.SourceFolder() == nil {
		return transfer.ProbeState(ctx, f.source, copied)
	}
	path, from, err := copied.Place.Unclaimed()
	if err == nil {
		differs, err = f.probe(path, from, copied.Payload)
	}
	if err != nil {
		return false, fmt.Errorf("probe file %q: %w", path, err)
	}
	return differs, nil
}

// Lists tells whether the source tells of many files at once.
func (f *Files) Lists() bool { return transfer.Lists(f.source) }

// ProbeAll is Probe for many, in the order of their keys.
func (f *Files) ProbeAll(ctx context.Context, copies []transfer.Copied, told func(i int, differs bool, err error)) error {
	return transfer.ProbeStates(ctx, f.source, copies, told)
}

func (f *Files) probe(path, from string, payload json.RawMessage) (bool, error) {
	want, err := transfer.Expect(payload)
	if err != nil {
		return false, err
	}
	there, err := probedStat(f.SourceFolder(), from)
	if err != nil {
		return false, err
	}
	here, err := probedStat(f.target, path)
	switch {
	case want.SHA256 != nil:
		return false, nil
	case errors.Is(err, transfer.ErrMissing):
		return true, nil
	case err != nil:
		return false, err
	}
	return there.Size != here.Size || there.Mtim != here.Mtim, nil
}

// probedStat reads what a folder has at a path, and that it still is the folder that has the
// name.
func probedStat(root *folder.Root, path string) (st unix.Stat_t, err error) {
	tree, err := root.Enter()
	if err != nil {
		return st, err
	}
	defer tree.Leave()
	file, err := tree.Open(path, unix.O_PATH|unix.O_CLOEXEC)
	if folder.Absent(err) {
		err = fmt.Errorf("%w: %w", transfer.ErrMissing, err)
	}
	if elsewhere := tree.Here(); elsewhere != nil {
		err = elsewhere
	}
	if err != nil {
		return st, err
	}
	defer file.Close()
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return st, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return st, fmt.Errorf("%w: %s is not a regular file", transfer.ErrUnsafe, file.Name())
	}
	return st, nil
}
