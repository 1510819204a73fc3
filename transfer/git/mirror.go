package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// mirror is a bare repository below the target: in place, or in staging.
type mirror struct {
	git *git
	dir *os.File
	// reads says that git only reads in it. It takes no lock on the guard, then:
	// an hour's reading would make the next run give the mirror up.
	reads bool
	// looseRefs is how many refs have a file of their own, once it was healed.
	looseRefs int
}

// mirrorConfigs are the configurations that a mirror of ours may have, byte for
// byte, for SHA-1 and SHA-256; anything else in that file is not ours, and could make
// git run programs (core.sshCommand, core.fsmonitor). Texts that earlier versions
// wrote stay in the list, else an upgrade would clone every repository anew.
var mirrorConfigs = [2]string{
	`[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
` + mirrorSettings,
	`[core]
	repositoryformatversion = 1
	filemode = true
	bare = true
[extensions]
	objectformat = sha256
` + mirrorSettings,
}

// refs/casq/ is hidden from whoever clones the mirror. Nobody but us collects
// garbage: it could take away what a running fetch has not yet tied to a ref.
const mirrorSettings = `[transfer]
	hideRefs = refs/casq
[gc]
	auto = 0
[maintenance]
	auto = false
[receive]
	autogc = false
`

// errBroken says that a mirror can not be used and has to be cloned anew.
var errBroken = errors.New("not a usable mirror")

// broken is true for errBroken, and where a folder is in the place of a file.
func broken(err error) bool { return errors.Is(err, errBroken) || errors.Is(err, unix.EISDIR) }

// refs lists the refs below prefix, without it. The type of each object is
// asked for so that git looks at it: a ref to an object that is not there, or in a
// pack that can not be read, is an error and not a line.
func (m *mirror) refs(ctx context.Context, prefix string) (refs, error) {
	out, err := m.run(ctx, gitCall{
		args:   []string{"for-each-ref", "--format=%(objectname) %(refname) %(objecttype)", prefix},
		strict: true,
	})
	if err != nil {
		return nil, fmt.Errorf("list refs in place: %w", err)
	}
	if prefix == "refs/" {
		prefix = ""
	}
	return parseRefs(out, prefix), nil
}

// realRefs are all but our own.
func (m *mirror) realRefs(ctx context.Context) (refs, error) {
	all, err := m.refs(ctx, "refs/")
	others, _ := all.split()
	return others, err
}

// claimRefs are those of claims, also of those of a source that is a mirror itself. No
// object of theirs matters.
func (m *mirror) claimRefs(ctx context.Context) (refs, error) {
	all, err := allRefFiles(m.dir)
	if err != nil {
		return m.refs(ctx, oursRefs)
	}
	_, ours := all.split()
	return ours, nil
}

// head reads HEAD. It is a file of one line in the files backend, which is the
// only one that we make.
func (m *mirror) head() (head, error) {
	text, err := folder.ReadSmall(m.dir, "HEAD")
	if err != nil {
		return "", err
	}
	top := head(strings.TrimSuffix(text, "\n"))
	if !isObjectID(string(top)) && !strings.HasPrefix(top.branch(), "refs/") {
		return "", fmt.Errorf("%w: HEAD is %q", errBroken, transfer.Clip(text))
	}
	return top, nil
}

// parts of a mirror that git and we go through.
var mirrorParts = []struct {
	path string
	kind folder.Kind
}{
	{"HEAD", folder.KindFile}, {"config", folder.KindFile}, {"refs", folder.KindDir}, {"objects", folder.KindDir},
	{"objects/pack", folder.KindDir}, {"objects/info", folder.KindDir},
}

// inspect says whether git may be let loose on the mirror: errBroken if it is
// not one of ours, ErrUnsafe if a link in it could lead git elsewhere.
func (m *mirror) inspect() error {
	for _, part := range mirrorParts {
		kind, err := folder.KindOf(int(m.dir.Fd()), part.path)
		if err != nil {
			return err
		}
		if kind == folder.KindLink || kind == folder.KindOther {
			return kind.InTheWay(m.dir.Name() + "/" + part.path)
		}
		if kind != part.kind {
			return fmt.Errorf("%w: %s/%s is missing or of another kind", errBroken, m.dir.Name(), part.path)
		}
	}
	for _, elsewhere := range []string{"commondir", "config.worktree", "objects/info/alternates", "objects/info/http-alternates"} {
		if kind, err := folder.KindOf(int(m.dir.Fd()), elsewhere); err != nil || kind != folder.KindAbsent {
			return errors.Join(err, fmt.Errorf("%w: %s/%s leads elsewhere", errBroken, m.dir.Name(), elsewhere))
		}
	}
	kind, err := folder.KindOf(int(m.dir.Fd()), "packed-refs")
	if err != nil {
		return err
	}
	if kind == folder.KindLink || kind == folder.KindOther {
		return kind.InTheWay(m.dir.Name() + "/packed-refs")
	}
	config, err := folder.ReadSmall(m.dir, "config")
	if err != nil {
		return err
	}
	if !slices.Contains(mirrorConfigs[:], config) {
		return fmt.Errorf("%w: %s/config is not as it was written; settings belong into git's system configuration",
			errBroken, m.dir.Name())
	}
	_, err = m.head()
	return err
}

// isSHA256 finds in a configuration, as git has written it, that objects are named by
// SHA-256.
var isSHA256 = regexp.MustCompile(`(?m)^\s*objectformat = sha256$`)

// adopt makes a clone in staging a mirror of ours.
func (m *mirror) adopt(ctx context.Context) error {
	written, err := folder.ReadSmall(m.dir, "config")
	if err != nil {
		return err
	}
	config := mirrorConfigs[0]
	if isSHA256.MatchString(written) {
		config = mirrorConfigs[1]
	}
	// The guard tells a mirror of ours from a folder that resembles one.
	guard, _, err := m.lock(ctx, unix.LOCK_SH, guardWait)
	if err != nil {
		return err
	}
	_ = guard.Close()
	if err := m.markPacked(); err != nil {
		return err
	}
	return folder.WriteFile(m.dir, "config", config)
}
