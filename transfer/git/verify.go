package git

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// Verify compares the mirror in place with the source ref by ref, checks whether
// all that its refs reach is there, and computes the digest of everything in its
// packs. It returns nil, [transfer.ErrMismatch], [transfer.ErrMissing] whenever the source
// lacks the repository, or why it could not tell. It writes nothing and needs no claim: the
// caller has to check whether the answer still matters. checksum is not needed: the source is asked.
//
// A source that has moved on since the copy differs. Its event brings a new
// version, which the caller has to check. What a fetch would not bring back,
// or would stumble over, is also [transfer.ErrDamaged]. It outweighs refs that differ.
func (r *Repositories) Verify(ctx context.Context, place transfer.Place, payload json.RawMessage, _ string) error {
	path, from, err := place.Unclaimed()
	if err == nil {
		_, err = transfer.Members(payload)
	}
	if err == nil {
		err = r.verify(ctx, path, from)
	}
	if err != nil {
		return fmt.Errorf("verify repository %q: %w", path, err)
	}
	return nil
}

func (r *Repositories) verify(ctx context.Context, path, from string) error {
	git, end := r.git.session()
	defer end()
	var want refs
	var top head
	err := r.reading(ctx, from, func(remote *remote) (err error) {
		want, top, err = git.list(ctx, remote)
		return err
	})
	if err != nil {
		return err
	}
	tree, err := r.target.Enter()
	if err != nil {
		return fmt.Errorf("open in place: %w", err)
	}
	defer tree.Leave()
	dir, err := tree.OpenDir(path)
	if folder.Absent(err) || errors.Is(err, transfer.ErrUnsafe) {
		return fmt.Errorf("%w: no repository in place: %w", transfer.ErrMismatch, err)
	}
	if err != nil {
		return fmt.Errorf("open in place: %w", err)
	}
	defer dir.Close()
	inPlace := &mirror{git: git, dir: dir, reads: true}
	differs := inPlace.compare(ctx, want, top)
	err = differs
	if err == nil || errors.Is(err, transfer.ErrMismatch) {
		err = cmp.Or(inPlace.check(ctx, r.unreachable), differs)
	}
	if ctx.Err() == nil && spoiled(err) {
		return fmt.Errorf("%w: %w: %w", transfer.ErrMismatch, transfer.ErrDamaged, err)
	}
	return err
}

// spoiled is true for what only a new copy can mend.
func spoiled(err error) bool {
	return broken(err) || errors.Is(err, transfer.ErrUnsafe) || errors.Is(err, unix.ENOENT) || damaged(err)
}

// compare compares refs and HEAD. top is "" where the source did not say it.
func (m *mirror) compare(ctx context.Context, want refs, top head) error {
	if err := m.inspect(); err != nil {
		return err
	}
	have, err := m.realRefs(ctx)
	if err != nil {
		return err
	}
	now, err := m.head()
	if err != nil {
		return err
	}
	if changes := diff(have, want); changes.size() > 0 {
		name := slices.Concat(changes.first, changes.then)[0]
		return fmt.Errorf("%w: %d of %d refs are not as at the source, such as %s: %s in place, %s there", transfer.ErrMismatch,
			changes.size(), len(want), name, orNothing(have[name]), orNothing(want[name]))
	}
	if top != "" && top != now {
		return fmt.Errorf("%w: HEAD is %q in place, %q at the source", transfer.ErrMismatch, now, top)
	}
	return nil
}

func orNothing(oid string) string {
	if oid == "" {
		return "nothing"
	}
	return oid
}

// check reads the objects. fsck finds what is not there and rereads trees and
// commits; verify-pack rereads everything. A full fsck would also find fault with
// how objects of old were made, which no copy can change.
//
// What no ref reaches, and should be gone, is a difference that the next copy mends.
func (m *mirror) check(ctx context.Context, unreachable time.Duration) error {
	overdue, err := m.packedBefore(time.Now().Add(-unreachable))
	if err != nil {
		return err
	}
	unreached := "--no-dangling"
	if overdue {
		unreached = "--dangling"
	}
	out, err := m.run(ctx, gitCall{args: []string{
		"fsck", "--connectivity-only", unreached, "--no-reflogs", "--no-progress",
	}})
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		return fmt.Errorf("%w: %w: %w", transfer.ErrMismatch, transfer.ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	packs, err := m.packIndexes()
	if err != nil {
		return err
	}
	// In groups: the length of a command line has a limit.
	for group := range slices.Chunk(packs, 500) {
		_, err := m.run(ctx, gitCall{args: append([]string{"verify-pack", "--"}, group...)})
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
			return fmt.Errorf("%w: %w: %w", transfer.ErrMismatch, transfer.ErrDamaged, err)
		}
		if err != nil {
			return err
		}
	}
	return dangling(out)
}

// packIndexes are the names of all pack indexes, as git takes them.
func (m *mirror) packIndexes() (indexes []string, err error) {
	dir, err := folder.OpenChild(m.dir, "objects/pack")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, "pack-") && strings.HasSuffix(name, ".idx") {
			indexes = append(indexes, "objects/pack/"+name)
		}
	}
	return indexes, err
}
