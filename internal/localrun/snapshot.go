package localrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// snapshot is a bare repository whose newest commit has the working tree.
type snapshot struct {
	dir    string // of the repository
	branch string
	sha    string
	before string // the commit that it stands on, or ""

	title, message, author, date string

	notes []string // what is not in it
}

// git runs git on the snapshot's repository and the folder's files, or on the folder's own
// repository.
type git struct {
	dir         string // the folder
	environment []string
}

func (g git) run(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	// What the user's configuration has git start beside it is not started.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = g.dir
	cmd.Env = slices.Concat(g.environment, []string{"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0"})
	cmd.Stdin = bytes.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

// line is the one line that git says.
func (g git) line(ctx context.Context, args ...string) (string, error) {
	out, err := g.run(ctx, nil, args...)
	return strings.TrimSpace(string(out)), err
}

// on is git with a repository and an index of its own.
func (g git) on(repository string) git {
	g.environment = append(slices.Clip(g.environment),
		"GIT_DIR="+repository, "GIT_WORK_TREE="+g.dir, "GIT_INDEX_FILE="+repository+".index",
		"GIT_AUTHOR_NAME=enqueue exec", "GIT_AUTHOR_EMAIL=exec@localhost",
		"GIT_COMMITTER_NAME=enqueue exec", "GIT_COMMITTER_EMAIL=exec@localhost")
	return g
}

// takeSnapshot makes a repository in the run's place of the working tree in dir: the files that git
// knows and those that it does not ignore, as they are now. Where dir is the top of a
// repository its objects are used, and its newest commit is the snapshot's parent, or the
// snapshot when nothing is changed.
func takeSnapshot(ctx context.Context, dir string, p *place, environment []string) (*snapshot, error) {
	own, target := git{dir, environment}, p.path("source.git")
	theirs := own.on(target)
	s := &snapshot{dir: target, branch: "main"}
	if _, err := own.run(ctx, nil, "init", "--quiet", "--bare", "--template=", target); err != nil {
		return nil, err
	}
	top, err := own.top(ctx)
	if err != nil {
		return nil, err
	}
	list := theirs
	if top != "" {
		list = own
	}
	if top == dir {
		if err := s.standOn(ctx, own, target); err != nil {
			return nil, err
		}
	}
	if err := s.add(ctx, list, theirs, p.dir); err != nil {
		return nil, err
	}
	if err := s.commit(ctx, theirs); err != nil {
		return nil, err
	}
	return s, nil
}

// top is the top of the repository that the folder is in, or "".
func (g git) top(ctx context.Context) (string, error) {
	top, err := g.line(ctx, "rev-parse", "--show-toplevel")
	if err != nil && strings.Contains(err.Error(), "not a git repository") {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(top)
}

// standOn has the snapshot use the objects of the folder's repository, and stand on its
// newest commit.
func (s *snapshot) standOn(ctx context.Context, own git, target string) error {
	for from, to := range map[string]string{"objects": "objects/info/alternates", "shallow": "shallow"} {
		path, err := own.line(ctx, "rev-parse", "--git-path", from)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(own.dir, path)
		}
		text := []byte(path + "\n")
		if from == "shallow" {
			if text, err = os.ReadFile(path); errors.Is(err, os.ErrNotExist) {
				continue
			}
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(target, to), text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	if head, err := own.line(ctx, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err == nil {
		s.before = head
	}
	if branch, err := own.line(ctx, "symbolic-ref", "--short", "--quiet", "HEAD"); err == nil {
		s.branch = branch
	}
	return nil
}

// add puts the files that list knows into the index of the snapshot, but for those in the
// run's place: it may be in the folder.
func (s *snapshot) add(ctx context.Context, list, theirs git, place string) error {
	within := []byte(place + "/")
	if rel, err := filepath.Rel(list.dir, place); err == nil {
		within = []byte(rel + "/")
	}
	staged, err := list.run(ctx, nil, "ls-files", "-z", "--cached", "--stage")
	if err != nil {
		return err
	}
	others, err := list.run(ctx, nil, "ls-files", "-z", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	var files, modules bytes.Buffer
	links := make(map[string]bool)
	for entry := range bytes.SplitSeq(staged, []byte{0}) {
		info, name, is := bytes.Cut(entry, []byte{'\t'})
		switch {
		case !is:
		case bytes.HasPrefix(info, []byte("160000 ")):
			modules.Write(append(entry, 0))
			s.notes = append(s.notes, fmt.Sprintf("submodule %s is empty in jobs, unless they fetch it", name))
		case !list.behindLink(string(name), links):
			files.Write(append(name, 0))
		}
	}
	for name := range bytes.SplitSeq(others, []byte{0}) {
		switch {
		case len(name) == 0 || bytes.HasPrefix(name, within):
		case bytes.HasSuffix(name, []byte{'/'}):
			s.notes = append(s.notes, fmt.Sprintf("%s is a repository of its own, and left out", name))
		default:
			files.Write(append(name, 0))
		}
	}
	// git-lfs would look for what is behind its pointers.
	lfs := []string{"-c", "filter.lfs.clean=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"}
	if _, err := theirs.run(ctx, files.Bytes(), append(lfs, "update-index", "--add", "--remove", "--replace", "-z", "--stdin")...); err != nil {
		return err
	}
	_, err = theirs.run(ctx, modules.Bytes(), "update-index", "-z", "--index-info")
	return err
}

// behindLink tells whether a folder of a file that git knows is a link now: the file is not
// there any more. links has the answers so far, by folder.
func (g git) behindLink(name string, links map[string]bool) bool {
	parent := filepath.Dir(name)
	if parent == "." {
		return false
	}
	behind, known := links[parent]
	if !known {
		info, err := os.Lstat(filepath.Join(g.dir, parent))
		behind = err == nil && info.Mode().Type() == os.ModeSymlink || g.behindLink(parent, links)
		links[parent] = behind
	}
	return behind
}

// commit makes the commit, and tells of it what jobs are told.
func (s *snapshot) commit(ctx context.Context, theirs git) error {
	tree, err := theirs.line(ctx, "write-tree")
	if err != nil {
		return err
	}
	s.sha = s.before
	changed := true
	if s.before != "" {
		same, err := theirs.line(ctx, "rev-parse", s.before+"^{tree}")
		if err != nil {
			return err
		}
		changed = same != tree
	}
	if changed {
		args := []string{"commit-tree", tree, "-m", "The working tree"}
		if s.before != "" {
			args = append(args, "-p", s.before)
		}
		if s.sha, err = theirs.line(ctx, args...); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"update-ref", "refs/heads/" + s.branch, s.sha}, {"symbolic-ref", "HEAD", "refs/heads/" + s.branch}} {
		if _, err = theirs.run(ctx, nil, args...); err != nil {
			return err
		}
	}
	told, err := theirs.line(ctx, "show", "--no-patch", "--format=%s%x00%an <%ae>%x00%cI%x00%B", s.sha)
	if err != nil {
		return err
	}
	parts := strings.SplitN(told, "\x00", 4)
	if len(parts) == 4 {
		s.title, s.author, s.date, s.message = parts[0], parts[1], parts[2], parts[3]
	}
	return nil
}
