package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// heal makes a mirror in place ready for a new claim: lock files and half
// packs of killed git processes go, and so do the refs of all other claims, with
// their fences. false: a git process of an older claim lives on (it is stopped,
// or does not die), so the mirror can not be trusted to stay as it is.
func (m *mirror) heal(ctx context.Context, grace time.Duration) (bool, error) {
	guard, free, err := m.lock(ctx, unix.LOCK_EX, grace)
	if err != nil || !free {
		return false, err
	}
	err = errors.Join(m.sweepFiles(ctx), m.sweepRefs(ctx))
	if err := errors.Join(err, guard.Close()); err != nil {
		return false, err
	}
	return true, m.sweepPackedRefs(ctx)
}

// sweepFiles removes what git leaves when it is killed. The guard is held: no
// git of ours is alive here.
func (m *mirror) sweepFiles(ctx context.Context) error {
	for _, part := range []struct {
		name  string
		stale func(name string) bool
	}{
		{".", func(name string) bool {
			return strings.HasSuffix(name, ".lock") || name == "packed-refs.new" || name == "gc.pid"
		}},
		{"objects", func(name string) bool {
			return strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, "incoming-")
		}},
		{"objects/pack", func(name string) bool {
			// A fetch that was killed leaves the mark that keeps its pack from being
			// rolled up.
			return strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, ".tmp-") ||
				strings.HasSuffix(name, ".keep") || strings.HasSuffix(name, ".lock")
		}},
		{"objects/info", func(name string) bool { return strings.HasSuffix(name, ".lock") }},
	} {
		if err := sweepFolder(ctx, m.dir, part.name, part.stale); err != nil {
			return fmt.Errorf("remove left-overs of git: %w", err)
		}
	}
	return nil
}

func sweepFolder(ctx context.Context, repository *os.File, name string, stale func(string) bool) error {
	dir, err := folder.OpenChild(repository, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if stale(entry) {
			if err := folder.RemoveTree(ctx, dir, entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepRefs removes lock files from refs/ (no ref may end in .lock) and all of
// refs/casq/, the way that works for refs that a power cut has left empty, too.
func (m *mirror) sweepRefs(ctx context.Context) error {
	top, err := folder.OpenChild(m.dir, "refs")
	if err != nil {
		return err
	}
	defer top.Close()
	if err := folder.RemoveTree(ctx, top, "casq"); err != nil {
		return fmt.Errorf("remove refs of earlier claims: %w", err)
	}
	m.looseRefs = 0
	return m.sweepLocks(ctx, top)
}

func (m *mirror) sweepLocks(ctx context.Context, dir *os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		at := dir.Name() + "/" + entry.Name()
		switch {
		case entry.Type()&os.ModeSymlink != 0:
			return folder.KindLink.InTheWay(at)
		case strings.HasSuffix(entry.Name(), ".lock"):
			if err := folder.RemoveTree(ctx, dir, entry.Name()); err != nil {
				return err
			}
		case entry.IsDir():
			if err := m.sweepLocksBelow(ctx, dir, entry.Name()); err != nil {
				return err
			}
		default:
			m.looseRefs++
		}
	}
	return nil
}

func (m *mirror) sweepLocksBelow(ctx context.Context, dir *os.File, name string) error {
	child, err := folder.OpenChild(dir, name)
	if err != nil {
		return err
	}
	defer child.Close()
	return m.sweepLocks(ctx, child)
}

// sweepPackedRefs deletes the refs of other claims that somebody's git gc has
// moved into packed-refs. It asks git only when there are any.
func (m *mirror) sweepPackedRefs(ctx context.Context) error {
	packed, err := folder.OpenFile(m.dir, "packed-refs")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	there, err := hasLine(packed, " "+oursRefs)
	_ = packed.Close()
	if err != nil || !there {
		return err
	}
	ours, err := m.refs(ctx, oursRefs)
	if err != nil {
		return err
	}
	var script strings.Builder
	for name, oid := range ours {
		fmt.Fprintf(&script, "delete %s%s %s\n", oursRefs, name, oid)
	}
	_, err = m.run(ctx, gitCall{args: []string{"update-ref", "--no-deref", "--stdin"}, stdin: script.String()})
	return err
}

// hasLine tells whether a text has a line with part in it, without having it all
// in memory.
func hasLine(text io.Reader, part string) (bool, error) {
	lines := bufio.NewReader(text)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case bytes.Contains(line, []byte(part)):
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull): // a line has an id and a name
			return false, err
		}
	}
}

// dropClaim deletes the refs of one claim, without asking git.
func (m *mirror) dropClaim(ctx context.Context, claim string) error {
	top, err := folder.OpenChild(m.dir, "refs")
	if err != nil {
		return err
	}
	defer top.Close()
	ours, err := folder.OpenChild(top, "casq")
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ours.Close()
	if err := folder.RemoveTree(ctx, ours, claim); err != nil {
		return err
	}
	_ = unix.Unlinkat(int(top.Fd()), "casq", unix.AT_REMOVEDIR)
	return nil
}
