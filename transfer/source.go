package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sys/unix"
)

// source is where files come from.
type source interface {
	open(ctx context.Context, path string) (object, error)
	// check returns ErrElsewhere when what was the source is not there any more.
	check() error
	close() error
}

// object is one file of a source, being read.
type object interface {
	io.ReadCloser
	// size is what the source said before the first read.
	size() int64
	attributes() attributes
	// unchanged returns ErrChanged if the source no longer has what was opened.
	unchanged(ctx context.Context) error
}

// folderSource reads plain files. Not through fileblob, which escapes the names
// that it does not like and follows links.
type folderSource struct{ root *root }

func (s *folderSource) check() error { return s.root.check() }
func (s *folderSource) close() error { return s.root.close() }

func (s *folderSource) open(_ context.Context, path string) (object, error) {
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
	file, err := tree.open(name, fileFlags)
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

// absent is true for a path that leads nowhere: also one that leads through a
// file, for a file has nothing below it.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, ErrOccupied)
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

func (o *fileObject) size() int64            { return o.before.Size }
func (o *fileObject) attributes() attributes { return o.has }

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

// unchanged reads two states: of the file that was read, for a write into it, and of
// its path, for another file put there, or another folder put in the source's
// place. The change time catches a writer that sets the modification time back. A
// write within the clock's tick (4 ms before Linux 6.13) of the first reading can
// escape; a sha256 in the payload catches that too.
func (o *fileObject) unchanged(context.Context) error {
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

// bucketSource reads from a bucket.
type bucketSource struct{ bucket *blob.Bucket }

func (s *bucketSource) check() error { return nil }
func (s *bucketSource) close() error { return s.bucket.Close() }

func (s *bucketSource) open(ctx context.Context, path string) (object, error) {
	if err := checkKey(path); err != nil {
		return nil, err
	}
	before, err := s.bucket.Attributes(ctx, path)
	if err != nil {
		return nil, bucketError(err)
	}
	reader, err := s.bucket.NewReader(ctx, path, nil)
	if err != nil {
		return nil, bucketError(err)
	}
	return &bucketObject{Reader: reader, bucket: s.bucket, path: path, before: before}, nil
}

func bucketError(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return fmt.Errorf("read from bucket: %w", err)
}

type bucketObject struct {
	*blob.Reader
	bucket *blob.Bucket
	path   string
	before *blob.Attributes
}

func (o *bucketObject) size() int64            { return o.before.Size }
func (o *bucketObject) attributes() attributes { return bucketAttributes }

func (o *bucketObject) unchanged(ctx context.Context) error {
	after, err := o.bucket.Attributes(ctx, o.path)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %s vanished while it was read", ErrChanged, o.path)
	}
	if err != nil {
		return fmt.Errorf("read from bucket: %w", err)
	}
	if after.ETag != o.before.ETag || after.Size != o.before.Size ||
		!after.ModTime.Equal(o.before.ModTime) || !o.ModTime().Equal(o.before.ModTime) {
		return fmt.Errorf("%w: %s was replaced while it was read", ErrChanged, o.path)
	}
	return nil
}
