package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Probe tells whether the source's refs, or its HEAD, are others than those of the copy. It reads no object, writes nothing, and needs no claim. Errors
// are as those of [Repositories.Verify]: where the source cannot be read nothing differs.
//
// The refs of a local source are read as files, with no process. What seems to differ
// there is listed by git, which alone knows what the source shows: it may hide refs, or
// keep them in another form.
func (r *Repositories) Probe(ctx context.Context, copied transfer.Copied) (differs bool, err error) {
	path, from, err := copied.Place.Unclaimed()
	if err == nil {
		differs, err = r.probe(ctx, path, from, copied.Checksum)
	}
	if err != nil {
		return false, fmt.Errorf("probe repository %q: %w", path, err)
	}
	return differs, nil
}

func (r *Repositories) probe(ctx context.Context, path, from, checksum string) (bool, error) {
	if r.source.folder != nil {
		same, err := r.sameFiles(from, checksum)
		if same || err != nil {
			return false, err
		}
	}
	git, end := r.git.session()
	defer end()
	var listed refs
	var top head
	err := r.reading(ctx, from, func(remote *remote) (err error) {
		listed, top, err = git.list(ctx, remote)
		return err
	})
	if err != nil {
		return false, err
	}
	if top == "" {
		// A server does not name a branch that does not exist: the copy's stays.
		if top, err = r.headInPlace(path); err != nil {
			return false, err
		}
	}
	return listed.checksum(top) != checksum, nil
}

// headInPlace is the copy's HEAD; "" if there is no copy, which will differ.
func (r *Repositories) headInPlace(path string) (head, error) {
	tree, err := r.target.Enter()
	if err != nil {
		return "", fmt.Errorf("open in place: %w", err)
	}
	defer tree.Leave()
	dir, err := tree.OpenDir(path)
	if folder.Absent(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open in place: %w", err)
	}
	defer dir.Close()
	return (&mirror{dir: dir}).head()
}

// sameFiles tells whether the files of a local source say the same as the checksum.
// Whatever is not as git usually has it is not the same.
func (r *Repositories) sameFiles(from, checksum string) (bool, error) {
	remote, err := r.source.remote(from)
	if err != nil {
		return false, err
	}
	defer remote.close()
	top, err := folder.ReadSmall(remote.folder, "HEAD")
	if err != nil {
		return false, nil // git will tell what is the matter
	}
	found, err := refFiles(remote.folder)
	if err != nil || found.checksum(head(strings.TrimSuffix(top, "\n"))) != checksum {
		return false, nil
	}
	return true, remote.unchanged()
}

// errUnusual says that refs are not plain files.
var errUnusual = errors.New("refs are not plain files")

// refFiles reads the refs of a repository, without those of claims.
func refFiles(dir *os.File) (refs, error) {
	all, err := allRefFiles(dir)
	if err != nil {
		return nil, err
	}
	others, _ := all.split()
	return others, nil
}

// allRefFiles reads all refs of a repository. Those that have a file of their own come
// first: git packs one, and then deletes its file.
func allRefFiles(dir *os.File) (refs, error) {
	loose := refs{}
	top, err := folder.OpenChild(dir, "refs")
	if err != nil {
		return nil, err
	}
	defer top.Close()
	if err := loose.readFolder(top, "refs/"); err != nil {
		return nil, err
	}
	packed, err := readPacked(dir)
	if err != nil {
		return nil, err
	}
	maps.Copy(packed, loose)
	return packed, nil
}

// readFolder reads the files below dir, whose name is prefix.
func (r refs) readFolder(dir *os.File, prefix string) error {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := prefix + entry.Name()
		switch {
		case entry.IsDir():
			if err := r.readChild(dir, entry.Name(), name+"/"); err != nil {
				return err
			}
		case !entry.Type().IsRegular():
			return errUnusual
		case strings.HasSuffix(name, ".lock"):
		default:
			text, err := folder.ReadSmall(dir, entry.Name())
			if err != nil {
				return err
			}
			oid := strings.TrimSuffix(text, "\n")
			if !isObjectID(oid) || !isRefName(name) {
				return errUnusual // a symbolic ref, or one that is being written
			}
			r[name] = oid
		}
	}
	return nil
}

func (r refs) readChild(dir *os.File, base, prefix string) error {
	child, err := folder.OpenChild(dir, base)
	if err != nil {
		return err
	}
	defer child.Close()
	return r.readFolder(child, prefix)
}

// mostPacked bounds what is read of the refs that share a file, in bytes: a million refs.
const mostPacked = 64 << 20

// readPacked reads the refs that share a file.
func readPacked(dir *os.File) (refs, error) {
	packed := refs{}
	file, err := folder.OpenFile(dir, "packed-refs")
	if errors.Is(err, unix.ENOENT) {
		return packed, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	limited := &io.LimitedReader{R: file, N: mostPacked}
	lines := bufio.NewScanner(limited)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' || line[0] == '^' {
			continue
		}
		oid, name, found := strings.Cut(line, " ")
		if !found || !isObjectID(oid) || !isRefName(name) {
			return nil, errUnusual
		}
		packed[name] = oid
	}
	if limited.N == 0 {
		return nil, errUnusual
	}
	return packed, lines.Err()
}
