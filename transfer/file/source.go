package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"time"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Source reads plain files. Not through fileblob, which escapes the names
// that it does not like and follows links.
type Source struct{ root *folder.Root }

// OpenSource opens a folder (a path or a file:// URL).
func OpenSource(address string, log *slog.Logger) (*Source, error) {
	opened, err := folder.OpenSource(address, log)
	if err != nil {
		return nil, fmt.Errorf("open file source %q: %w", transfer.Redact(address), err)
	}
	return &Source{root: opened}, nil
}

// Folder is the one that is read.
func (s *Source) Folder() *folder.Root { return s.root }

// Check implements [transfer.Source].
func (s *Source) Check() error { return s.root.Check() }

// Close implements [transfer.Source].
func (s *Source) Close() error { return s.root.Close() }

// Open implements [transfer.Source].
func (s *Source) Open(_ context.Context, path string) (transfer.Object, error) {
	tree, err := s.root.Enter()
	if err != nil {
		return nil, fmt.Errorf("open at the source: %w", err)
	}
	o, err := openObject(tree, path)
	if err != nil {
		tree.Leave()
		return nil, err
	}
	return o, nil
}

func openObject(tree *folder.Tree, name string) (*object, error) {
	file, err := tree.OpenFile(name)
	if folder.Absent(err) {
		return nil, fmt.Errorf("%w: %w", transfer.ErrMissing, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open at the source: %w", err)
	}
	o := &object{tree: tree, path: name, File: file}
	if o.before, err = o.stat(file); err == nil && o.before.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%w: %s at the source is not a regular file", transfer.ErrUnsafe, file.Name())
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

type object struct {
	*os.File
	tree   *folder.Tree
	path   string
	before unix.Stat_t
	has    attributes
}

// readFolders notes the file's attributes, within the folders of its path.
func (o *object) readFolders() error {
	o.has = attributesOf(o.before)
	for name := path.Dir(o.path); name != "."; name = path.Dir(name) {
		dir, err := o.tree.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if folder.Absent(err) {
			return fmt.Errorf("%w: %w", transfer.ErrMissing, err) // it has just gone
		}
		if err != nil {
			return fmt.Errorf("open at the source: %w", err)
		}
		above, err := o.stat(dir)
		_ = dir.Close()
		if err != nil {
			return err
		}
		o.has = o.has.within(above)
	}
	return nil
}

// Size implements [transfer.Object].
func (o *object) Size() int64 { return o.before.Size }

func (o *object) attributes() attributes { return o.has }

// Described implements [transfer.Described].
func (o *object) Described() (mode uint32, written time.Time) {
	return o.has.mode, time.Unix(o.before.Mtim.Unix())
}

// ETag is another one for each state of each file that [object.Unchanged] can tell apart.
func (o *object) ETag() string {
	return fmt.Sprintf(`"%x-%x-%x-%x"`, o.before.Ino, o.before.Size, o.before.Mtim.Nano(), o.before.Ctim.Nano())
}

// State implements [transfer.StatedObject].
func (o *object) State() string { return stateOf(o.before) }

func stateOf(st unix.Stat_t) string { return fmt.Sprintf("%d %d", st.Size, st.Mtim.Nano()) }

// State implements [transfer.Stated], where the copy's own size and time do not tell.
func (s *Source) State(_ context.Context, path string) (string, error) {
	st, err := probedStat(s.root, path)
	if err != nil {
		return "", err
	}
	return stateOf(st), nil
}

// Holes implements [transfer.Sparse].
func (o *object) Holes() *os.File { return o.File }

// Close implements io.Closer.
func (o *object) Close() error {
	o.tree.Leave()
	return o.File.Close()
}

func (o *object) stat(file *os.File) (unix.Stat_t, error) {
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
func (o *object) Unchanged(context.Context) error {
	after, err := o.stat(o.File)
	if err != nil {
		return err
	}
	if after.Size != o.before.Size || after.Mtim != o.before.Mtim || after.Ctim != o.before.Ctim {
		return fmt.Errorf("%w: %s was written to while it was read", transfer.ErrChanged, o.Name())
	}
	if err := o.tree.Here(); err != nil {
		return fmt.Errorf("%w: the source: %w", transfer.ErrChanged, err)
	}
	again, err := o.tree.Open(o.path, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%w: %s vanished while it was read: %w", transfer.ErrChanged, o.Name(), err)
	}
	defer again.Close()
	now, err := o.stat(again)
	if err != nil {
		return err
	}
	if now.Ino != o.before.Ino || now.Dev != o.before.Dev {
		return fmt.Errorf("%w: %s was replaced while it was read", transfer.ErrChanged, o.Name())
	}
	return nil
}
