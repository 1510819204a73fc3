package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// repoStore is the source folder of repositories, and the one that has all commits
// that there may be. The others borrow its objects.
type repoStore struct {
	root, incoming, store string
	env                   []string
	commits               []string
	names                 atomic.Int64
}

// pool is the repository that has all commits. It lies in the source itself: what
// a repository borrows from outside is not copied.
const pool = "pool.git"

// storeCommits is how many commits there are. A push takes any of them, so
// that many go back.
const storeCommits = 60

func newRepoStore(ctx context.Context, work *workspace, searchPath string) (*repoStore, error) {
	d := &repoStore{
		root: work.path(sourceRepositories), incoming: work.path(incoming), store: work.path(sourceRepositories, pool),
		env: []string{
			"PATH=" + searchPath, "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_TERMINAL_PROMPT=0",
		},
	}
	if _, err := d.git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", d.store); err != nil {
		return nil, err
	}
	var stream strings.Builder
	for i := range storeCommits {
		text := strings.Repeat(fmt.Sprintf("commit %d\n", i), 1+i*20)
		fmt.Fprintf(&stream, "commit refs/heads/all\ncommitter a <a@example.invalid> %d +0000\ndata 1\nc\n", 1_000_000_000+i)
		fmt.Fprintf(&stream, "M 100644 inline file\ndata %d\n%s\n", len(text), text)
	}
	if _, err := d.git(ctx, stream.String(), "-C", d.store, "fast-import", "--quiet"); err != nil {
		return nil, err
	}
	out, err := d.git(ctx, "", "-C", d.store, "rev-list", "refs/heads/all")
	d.commits = strings.Fields(out)
	return d, err
}

// git runs a command to its end; what ends the run does not end it.
func (d *repoStore) git(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "git", args...)
	cmd.Env, cmd.Dir, cmd.Stdin = d.env, d.root, strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// invent chooses refs. A name that is a folder in one choice is a file in
// another.
func (d *repoStore) invent(r *rand.Rand) map[string]string {
	names := []string{"refs/heads/main"}
	switch r.IntN(3) {
	case 0:
		names = append(names, "refs/heads/topic")
	case 1:
		names = append(names, "refs/heads/topic/a", "refs/tags/v1")
	}
	refs := make(map[string]string)
	for _, name := range names {
		refs[name] = d.commits[r.IntN(len(d.commits))]
	}
	return refs
}

// restore makes a repository what its row says; nil: not there.
func (d *repoStore) restore(ctx context.Context, path string, want map[string]string) error {
	place := filepath.Join(d.root, path)
	_, err := os.Stat(place)
	there := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case want == nil && !there:
		return nil
	case want == nil:
		gone := d.newName()
		if err := os.Rename(place, gone); err != nil {
			return err
		}
		return os.RemoveAll(gone)
	case !there:
		return d.create(ctx, place, want)
	}
	return d.update(ctx, place, want)
}

func (d *repoStore) newName() string {
	return filepath.Join(d.incoming, "repository-"+strconv.FormatInt(d.names.Add(1), 10))
}

// create makes a whole repository and puts it in place in one step.
func (d *repoStore) create(ctx context.Context, place string, want map[string]string) error {
	fresh := d.newName()
	if _, err := d.git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", fresh); err != nil {
		return err
	}
	borrow := filepath.Join(fresh, "objects", "info", "alternates")
	if err := os.WriteFile(borrow, []byte(filepath.Join(d.store, "objects")+"\n"), 0o600); err != nil {
		return err
	}
	if err := d.update(ctx, fresh, want); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return err
	}
	return os.Rename(fresh, place)
}

// update changes refs: those that go first, since one may be in the way of
// another.
func (d *repoStore) update(ctx context.Context, place string, want map[string]string) error {
	have, err := d.refs(ctx, place)
	if err != nil {
		return err
	}
	var remove, change strings.Builder
	for name := range have {
		if want[name] == "" {
			fmt.Fprintf(&remove, "delete %s\n", name)
		}
	}
	for name, commit := range want {
		if have[name] != commit {
			fmt.Fprintf(&change, "update %s %s\n", name, commit)
		}
	}
	for _, commands := range []string{remove.String(), change.String()} {
		if commands == "" {
			continue
		}
		if _, err := d.git(ctx, commands, "--git-dir="+place, "update-ref", "--stdin"); err != nil {
			return err
		}
	}
	return nil
}

// refs lists the refs of a repository.
func (d *repoStore) refs(ctx context.Context, place string) (map[string]string, error) {
	out, err := d.git(ctx, "", "--git-dir="+place, "for-each-ref", "--format=%(refname) %(objectname)")
	refs := make(map[string]string)
	for line := range strings.Lines(out) {
		name, commit, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		refs[name] = commit
	}
	return refs, err
}
