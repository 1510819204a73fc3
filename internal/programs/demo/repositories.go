package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// repository is one that is replicated.
type repository struct {
	key    string
	origin string // the git folder that it was copied from; "" if made here
	gitDir string // the copy at the primary site
}

// repositoryKey names a git folder by its path relative to the source, or by
// the source's own name. Every key ends in .git and no folder in it does, so
// that none lies inside another, as a submodule's does.
func repositoryKey(rel, root string) string {
	rel = filepath.ToSlash(rel)
	if rel == "." || rel == ".git" {
		rel = path.Base(filepath.ToSlash(root))
	}
	rel = strings.TrimSuffix(strings.TrimSuffix(rel, "/.git"), ".git")
	parts := strings.Split(rel, "/")
	for i := range parts[:len(parts)-1] {
		if strings.HasSuffix(parts[i], ".git") {
			parts[i] += "_"
		}
	}
	return strings.Join(parts, "/") + ".git"
}

// planRepositories names what is to be copied: the own repository, and those
// below the source.
func planRepositories(own string, s *scan, root string) []repository {
	var plan []repository
	taken := make(map[string]bool)
	add := func(key, origin string) {
		unique := key
		for n := 2; taken[unique]; n++ {
			unique = strings.TrimSuffix(key, ".git") + "-" + strconv.Itoa(n) + ".git"
		}
		taken[unique] = true
		plan = append(plan, repository{key: unique, origin: origin, gitDir: filepath.Join(root, filepath.FromSlash(unique))})
	}
	if own != "" {
		name := own
		if filepath.Base(own) == ".git" {
			name = filepath.Dir(own)
		}
		add(repositoryKey(".", name), own)
	}
	for _, rel := range s.gitFolders {
		key := repositoryKey(rel, s.root)
		if reason := badKey(key); reason != "" {
			s.skipped.add("repository: "+reason, rel)
			continue
		}
		if origin := filepath.Join(s.root, rel); origin != own {
			add(key, origin)
		}
	}
	return plan
}

// copyRepositories copies the planned repositories to the primary site. One
// below the source that git cannot copy is skipped; own is the exception.
func copyRepositories(ctx context.Context, g *git, plan []repository, s *scan, own string) ([]repository, error) {
	copied := make([]bool, len(plan))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for i, r := range plan {
		group.Go(func() error {
			err := g.mirror(ctx, r.origin, r.gitDir)
			refused, _ := errors.AsType[*gitError](err)
			switch {
			case err == nil:
				copied[i] = true
				return nil
			case r.origin == own || refused == nil:
				return fmt.Errorf("copy repository %s: %w", r.origin, err)
			}
			s.skipped.add("repository that git cannot copy: "+refused.said, strings.TrimPrefix(r.origin, s.root+"/"))
			return os.RemoveAll(r.gitDir)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var done []repository
	for i, r := range plan {
		if copied[i] {
			done = append(done, r)
		}
	}
	return done, nil
}

// mirror copies a repository with all of its refs. --no-local: nothing is
// linked, and what the repository borrows from others comes along.
func (g *git) mirror(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	_, err := g.run(ctx, "", "", "clone", "--mirror", "--no-local", "--quiet",
		"--upload-pack=git-upload-pack --strict", "--", from, to)
	return err
}

// head returns the object that HEAD stands for, nil when there is none yet.
func (g *git) head(ctx context.Context, gitDir string) (*string, error) {
	out, err := g.run(ctx, gitDir, "", "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
	if _, refused := errors.AsType[*gitError](err); refused {
		return nil, nil // an unborn branch
	}
	if err != nil {
		return nil, err
	}
	oid := strings.TrimSpace(out)
	return &oid, nil
}

func (g *git) insertRepository(ctx context.Context, db *pgxpool.Pool, r repository) error {
	head, err := g.head(ctx, r.gitDir)
	if err == nil {
		_, err = db.Exec(ctx, "INSERT INTO repositories (path, head) VALUES ($1, $2)", r.key, head)
	}
	if err != nil {
		return fmt.Errorf("insert repository %s: %w", r.key, err)
	}
	return nil
}

// refs returns all refs of a repository and what HEAD is, as the files say.
func (g *git) refs(ctx context.Context, gitDir string) (map[string]string, error) {
	out, err := g.run(ctx, gitDir, "", "for-each-ref", "--format=%(refname) %(objectname)")
	if err != nil {
		return nil, err
	}
	refs := make(map[string]string)
	for line := range strings.Lines(out) {
		name, oid, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		refs[name] = oid
	}
	head, err := os.ReadFile(filepath.Join(gitDir, "HEAD"))
	refs["HEAD"] = strings.TrimSpace(string(head))
	return refs, err
}

// intact returns an error unless every object that the refs need is there.
func (g *git) intact(ctx context.Context, gitDir string) error {
	_, err := g.run(ctx, gitDir, "", "rev-list", "--objects", "--all", "--quiet")
	return err
}

// fingerprint is the content of a git folder's files, before and after. Left
// out are the index, which git status writes anew, and lock files.
func fingerprint(ctx context.Context, gitDir string) (map[string]content, error) {
	var files []string
	s, err := scanSource(ctx, gitDir)
	if err != nil {
		return nil, err
	}
	for _, file := range s.files {
		if file != "index" && !strings.HasSuffix(file, ".lock") {
			files = append(files, file)
		}
	}
	return readAll(ctx, gitDir, files, func(_ string, err error) error {
		if whyUnread(err) != "" {
			return nil
		}
		return err
	})
}
