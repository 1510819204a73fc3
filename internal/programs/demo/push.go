package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// pushPause lies between two pushes: each costs the source some 80 ms of a
	// CPU and the second site twice that.
	pushPause    = 200 * time.Millisecond
	fewestPushes = 6
	mostPushes   = 60
	// pushedTo is how many repositories are pushed to.
	pushedTo = 4
	// branches is the folder of the branches that pushes make.
	branches = "casq-demo-changes"
)

// pusher is a user who pushes to the primary's repositories, and the forge that
// updates its row after each push.
type pusher struct {
	db  *pgx.Conn // one of its own
	git *git
	dir string // of the user's own clones

	repositories []repository
	own          repository // made by the demo, deleted and made again
	commits      int
	pushes       int
}

// run pushes until enough.
func (p *pusher) run(ctx context.Context, enough func() bool) error {
	targets := append([]repository{p.own}, p.repositories[:min(len(p.repositories), pushedTo-1)]...)
	for i, r := range targets {
		if err := p.clone(ctx, i, r); err != nil {
			return err
		}
	}
	ticker := time.NewTicker(pushPause)
	defer ticker.Stop()
	for n := 0; n < fewestPushes || n < mostPushes && !enough(); n++ {
		i := n % len(targets)
		if n == fewestPushes/2 {
			if err := p.remake(ctx); err != nil {
				return fmt.Errorf("make repository %s again: %w", p.own.key, err)
			}
		}
		if err := p.push(ctx, i, targets[i], n/len(targets)); err != nil {
			return fmt.Errorf("push to %s: %w", targets[i].key, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return nil
}

func (p *pusher) work(i int) string { return filepath.Join(p.dir, fmt.Sprintf("%d.git", i)) }

// clone makes the user's clone, which borrows the objects of the primary's.
func (p *pusher) clone(ctx context.Context, i int, r repository) error {
	_, err := p.git.run(ctx, "", "", "clone", "--bare", "--shared", "--quiet", "--", r.gitDir, p.work(i))
	return err
}

// push makes a commit and pushes it in one of several ways, then updates the
// row. The way is the same for all repositories of a round.
func (p *pusher) push(ctx context.Context, i int, r repository, round int) error {
	work := p.work(i)
	main, err := p.branch(ctx, work)
	if err != nil {
		return err
	}
	side := fmt.Sprintf("refs/heads/%s/%d", branches, round/4)
	var refspecs []string
	switch round % 4 {
	case 0: // the branch that HEAD names, created if need be
		if main == "" {
			main = side
		}
		refspecs = []string{main}
		err = p.commit(ctx, work, main, main)
	case 1: // a new branch and a tag
		refspecs = []string{side, "refs/tags/" + branches + fmt.Sprintf("-%d", round)}
		if err = p.commit(ctx, work, side, side); err == nil {
			_, err = p.git.run(ctx, work, "", "tag", "-a", "-m", "tagged", strings.TrimPrefix(refspecs[1], "refs/tags/"), side)
		}
	case 2: // the branch is written anew
		refspecs = []string{"+" + side}
		err = p.commit(ctx, work, side, "")
	case 3: // and deleted, with what it held
		refspecs = []string{":" + side}
		if !p.git.has(ctx, r.gitDir, side) {
			refspecs = []string{side}
			err = p.commit(ctx, work, side, "")
		}
	}
	if err != nil {
		return err
	}
	if _, err = p.git.run(ctx, work, "", append([]string{"push", "--quiet", r.gitDir}, refspecs...)...); err != nil {
		return err
	}
	p.pushes++
	return p.update(ctx, r)
}

// branch returns the branch that HEAD names; "" if it names none.
func (p *pusher) branch(ctx context.Context, gitDir string) (string, error) {
	head, err := os.ReadFile(filepath.Join(gitDir, "HEAD"))
	if err != nil {
		return "", err
	}
	name, symbolic := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: ")
	if !symbolic {
		return "", ctx.Err()
	}
	return name, nil
}

// commit adds a commit with one more file to a branch, on top of parent, which
// may not exist yet.
func (p *pusher) commit(ctx context.Context, work, branch, parent string) error {
	p.commits++
	text := fmt.Sprintf("commit %d of the demo\n", p.commits)
	var b strings.Builder
	fmt.Fprintf(&b, "commit %s\n", branch)
	fmt.Fprintf(&b, "committer casq demo <demo@example.invalid> %d +0000\n", time.Now().Unix())
	fmt.Fprintf(&b, "data %d\n%s\n", len(text), text)
	if parent != "" && p.git.has(ctx, work, parent) {
		fmt.Fprintf(&b, "from %s^0\n", parent)
	}
	fmt.Fprintf(&b, "M 100644 inline casq-demo/%d.txt\ndata %d\n%s\n", p.commits, len(text), text)
	_, err := p.git.run(ctx, work, b.String(), "fast-import", "--quiet", "--force", "--date-format=raw")
	return err
}

func (p *pusher) update(ctx context.Context, r repository) error {
	head, err := p.git.head(ctx, r.gitDir)
	if err == nil {
		_, err = p.db.Exec(ctx, "UPDATE repositories SET head = $2, pushed_at = clock_timestamp() WHERE path = $1", r.key, head)
	}
	return err
}

// remake deletes the demo's own repository and makes another one under the same
// path, with a history of its own.
func (p *pusher) remake(ctx context.Context) error {
	if _, err := p.db.Exec(ctx, "DELETE FROM repositories WHERE path = $1", p.own.key); err != nil {
		return err
	}
	if err := os.RemoveAll(p.own.gitDir); err != nil {
		return err
	}
	if err := p.git.init(ctx, p.own.gitDir); err != nil {
		return err
	}
	if err := os.RemoveAll(p.work(0)); err != nil {
		return err
	}
	if err := p.clone(ctx, 0, p.own); err != nil {
		return err
	}
	_, err := p.db.Exec(ctx, "INSERT INTO repositories (path) VALUES ($1)", p.own.key)
	return err
}

// has tells whether a ref is there and leads to a commit.
func (g *git) has(ctx context.Context, gitDir, ref string) bool {
	_, err := g.run(ctx, gitDir, "", "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	return err == nil
}

// init makes an empty repository.
func (g *git) init(ctx context.Context, gitDir string) error {
	_, err := g.run(ctx, "", "", "init", "--bare", "--quiet", "--", gitDir)
	return err
}
