package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// sourceParts are what git reads of a repository that it serves. Hooks, logs and
// work trees are not.
var sourceParts = []struct {
	name   string
	kind   folder.Kind
	needed bool
}{
	{"HEAD", folder.KindFile, true}, {"objects", folder.KindDir, true}, {"refs", folder.KindDir, true},
	{"config", folder.KindFile, false}, {"config.worktree", folder.KindFile, false}, {"packed-refs", folder.KindFile, false},
	{"shallow", folder.KindFile, false}, {"info", folder.KindDir, false}, {"reftable", folder.KindDir, false},
}

// reading calls read with the repository at the source that is at path. What has been
// read counts only if the source was, before and after, what git may read, and has
// its name still. Of anything else nothing is told: git's messages quote what it reads.
func (r *Repositories) reading(ctx context.Context, path string, read func(*remote) error) error {
	remote, err := r.source.remote(path)
	if err != nil {
		return err
	}
	defer remote.close()
	if err := remote.inspect(ctx); err != nil {
		return err
	}
	err = read(remote)
	if unsafe := remote.inspect(ctx); errors.Is(unsafe, transfer.ErrUnsafe) {
		return unsafe
	}
	if err != nil {
		return err
	}
	return remote.unchanged()
}

// inspect refuses a local source in which something leads git elsewhere, or keeps
// it waiting for ever: only files and folders are there, and alternates stay in the
// folder of all repositories.
//
// Whoever owns the repository may change it a moment later. So git is kept from
// reading anything else, where the kernel can do that (see [git.confined]), and it is
// inspected again when all has been read.
func (r *remote) inspect(ctx context.Context) error {
	if r.folder == nil {
		return nil
	}
	for _, part := range sourceParts {
		if err := inspectPart(ctx, r.folder, part.name, part.kind, part.needed); err != nil {
			return err
		}
	}
	if kind, err := folder.KindOf(int(r.folder.Fd()), "commondir"); err != nil || kind != folder.KindAbsent {
		return errors.Join(err, fmt.Errorf("%w: %s/commondir leads elsewhere", transfer.ErrUnsafe, r.folder.Name()))
	}
	r.closeAlternates()
	objects, err := folder.OpenChild(r.folder, "objects")
	if err != nil {
		return err
	}
	defer objects.Close()
	return r.inspectAlternates(ctx, objects, maxAlternates)
}

func inspectPart(ctx context.Context, dir *os.File, name string, want folder.Kind, needed bool) error {
	at := dir.Name() + "/" + name
	kind, err := folder.KindOf(int(dir.Fd()), name)
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", at, err)
	case kind == folder.KindAbsent && needed:
		return fmt.Errorf("%w: %s is not a git repository (no %s)", transfer.ErrMissing, dir.Name(), name)
	case kind == folder.KindAbsent:
		return nil
	case kind != want:
		return misplaced(kind, at)
	case kind != folder.KindDir:
		return nil
	}
	child, err := folder.OpenChild(dir, name)
	if err != nil {
		return vanishedOr(err)
	}
	defer child.Close()
	return onlyPlain(ctx, child)
}

// misplaced is the error for what git must not be led to.
func misplaced(k folder.Kind, at string) error {
	switch k {
	case folder.KindLink:
		return fmt.Errorf("%w: %s at the source is a symbolic link, which may lead elsewhere", transfer.ErrUnsafe, at)
	case folder.KindFile, folder.KindDir:
		return fmt.Errorf("%w: %s at the source is not what a git repository has there", transfer.ErrUnsafe, at)
	default:
		return fmt.Errorf("%w: %s at the source is neither a file nor a folder", transfer.ErrUnsafe, at)
	}
}

// vanishedOr lets pass what went meanwhile: git is at work there.
func vanishedOr(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// onlyPlain walks through all that is below a folder.
func onlyPlain(ctx context.Context, dir *os.File) error {
	for {
		entries, err := dir.ReadDir(512)
		for _, entry := range entries {
			if err := plainEntry(ctx, dir, entry); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil || len(entries) == 0:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return vanishedOr(err)
		}
	}
}

func plainEntry(ctx context.Context, dir *os.File, entry os.DirEntry) error {
	at := dir.Name() + "/" + entry.Name()
	switch {
	case entry.IsDir():
		child, err := folder.OpenChild(dir, entry.Name())
		if err != nil {
			return vanishedOr(err)
		}
		defer child.Close()
		return onlyPlain(ctx, child)
	case entry.Type()&os.ModeSymlink != 0:
		return misplaced(folder.KindLink, at)
	case !entry.Type().IsRegular():
		return misplaced(folder.KindOther, at)
	}
	return nil
}

// maxAlternates is how long a chain of alternates may be; git's own limit.
const maxAlternates = 5

// inspectAlternates opens the folders of objects that this one borrows from. They
// may lie in the source only.
func (r *remote) inspectAlternates(ctx context.Context, objects *os.File, left int) error {
	text, err := folder.ReadSmall(objects, "info/alternates")
	if err != nil {
		return vanishedOr(err)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		where, ok := r.withinSource(strings.TrimPrefix(objects.Name(), r.tree.Name()+"/"), line)
		if !ok || left == 0 {
			return fmt.Errorf("%w: %s/info/alternates leads out of the source, to %q, or too far", transfer.ErrUnsafe, objects.Name(), transfer.Clip(line))
		}
		dir, err := r.tree.OpenDir(where)
		if err != nil {
			return fmt.Errorf("open an alternate of %s: %w", objects.Name(), err)
		}
		r.alternates = append(r.alternates, dir)
		if err := inspectPart(ctx, dir, ".", folder.KindDir, true); err != nil {
			return err
		}
		if err := r.inspectAlternates(ctx, dir, left-1); err != nil {
			return err
		}
	}
	return nil
}

// withinSource is where a line of an alternates file leads, below the source.
func (r *remote) withinSource(objects, line string) (string, bool) {
	if line[0] == '"' { // quoted; nobody needs that
		return "", false
	}
	if !path.IsAbs(line) {
		line = path.Join(objects, line)
		return line, filepath.IsLocal(line)
	}
	target, err := filepath.EvalSymlinks(r.tree.Name())
	for _, name := range []string{r.tree.Name(), target} {
		rel, inside := strings.CutPrefix(path.Clean(line), name+"/")
		if inside && err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}

func (r *remote) closeAlternates() {
	for _, dir := range r.alternates {
		_ = dir.Close()
	}
	r.alternates = nil
}

// folders are what git may read of a local source.
func (r *remote) folders() []*os.File {
	return slices.Concat([]*os.File{r.folder}, r.alternates)
}
