package transfer

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// FolderSource reads plain files. Not through fileblob, which escapes the names
// that it does not like and follows links.
type FolderSource struct{ root *root }

// OpenFolderSource opens a folder (a path or a file:// URL).
func OpenFolderSource(address string, log *slog.Logger) (*FolderSource, error) {
	opened, err := openSource(address, log)
	if err != nil {
		return nil, fmt.Errorf("open file source %q: %w", redact(address), err)
	}
	return &FolderSource{root: opened}, nil
}

// Folder is the one that is read.
func (s *FolderSource) Folder() *root { return s.root }

// Check implements [Source].
func (s *FolderSource) Check() error { return s.root.check() }

// Close implements [Source].
func (s *FolderSource) Close() error { return s.root.close() }

// Open implements [Source].
func (s *FolderSource) Open(_ context.Context, path string) (Object, error) {
	tree, err := s.root.enter()
	if err != nil {
		return nil, fmt.Errorf("open at the source: %w", err)
	}
	o, err := openObject(tree, path)
	if err != nil {
		tree.leave()
		return nil, err
	}
	return o, nil
}

func openObject(tree *tree, name string) (*fileObject, error) {
	file, err := tree.openFile(name)
	if absent(err) {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open at the source: %w", err)
	}
	o := &fileObject{tree: tree, path: name, File: file}
	if o.before, err = o.stat(file); err == nil && o.before.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%w: %s at the source is not a regular file", ErrUnsafe, file.Name())
	}
	if err == nil {
		err = o.readFolders()
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return o, nil
}

type fileObject struct {
	*os.File
	tree   *tree
	path   string
	before unix.Stat_t
	has    attributes
}

// readFolders notes the file's attributes, within the folders of its path.
func (o *fileObject) readFolders() error {
	o.has = attributesOf(o.before)
	for name := path.Dir(o.path); name != "."; name = path.Dir(name) {
		dir, err := o.tree.open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if absent(err) {
			return fmt.Errorf("%w: %w", ErrMissing, err) // it has just gone
		}
		if err != nil {
			return fmt.Errorf("open at the source: %w", err)
		}
		folder, err := o.stat(dir)
		_ = dir.Close()
		if err != nil {
			return err
		}
		o.has = o.has.within(folder)
	}
	return nil
}

// Size implements [Object].
func (o *fileObject) Size() int64 { return o.before.Size }

func (o *fileObject) attributes() attributes { return o.has }

// Holes implements [Sparse].
func (o *fileObject) Holes() *os.File { return o.File }

// Close implements io.Closer.
func (o *fileObject) Close() error {
	o.tree.leave()
	return o.File.Close()
}

func (o *fileObject) stat(file *os.File) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return st, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return st, nil
}

// Unchanged reads two states: of the file that was read, for a write into it, and of
// its path, for another file put there, or another folder put in the source's
// place. The change time catches a writer that sets the modification time back. A
// write within the clock's tick (4 ms before Linux 6.13) of the first reading can
// escape; a sha256 in the payload catches that too.
func (o *fileObject) Unchanged(context.Context) error {
	after, err := o.stat(o.File)
	if err != nil {
		return err
	}
	if after.Size != o.before.Size || after.Mtim != o.before.Mtim || after.Ctim != o.before.Ctim {
		return fmt.Errorf("%w: %s was written to while it was read", ErrChanged, o.Name())
	}
	if err := o.tree.here(); err != nil {
		return fmt.Errorf("%w: the source: %w", ErrChanged, err)
	}
	again, err := o.tree.open(o.path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%w: %s vanished while it was read: %w", ErrChanged, o.Name(), err)
	}
	defer again.Close()
	now, err := o.stat(again)
	if err != nil {
		return err
	}
	if now.Ino != o.before.Ino || now.Dev != o.before.Dev {
		return fmt.Errorf("%w: %s was replaced while it was read", ErrChanged, o.Name())
	}
	return nil
}
