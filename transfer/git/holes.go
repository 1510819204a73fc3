package git

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patchedGit is, for the second number of git's version, the third one from which
// git does not fetch what a source repository lacks from where that repository's own
// config says, by a command that it says (CVE-2024-32465, and CVE-2024-32004 with it;
// May 2024): before, whoever owns a repository at the source runs programs as the
// worker. Versions above those in the table have it, and none below.
//
// What was found later (CVE-2024-52006, CVE-2025-48384 and others) is in prompts,
// submodules, bundle URIs and gitk, none of which is used here.
var patchedGit = map[int]int{39: 4, 40: 2, 41: 1, 42: 2, 43: 4, 44: 1, 45: 1}

const newestPatchedGit = 45

// checkHoles refuses a git with known holes. Distributions mend them without
// another number: then it is tried.
func (g *git) checkHoles(ctx context.Context, version string) error {
	var major, minor, patch int
	_, _ = fmt.Sscanf(version, "git version %d.%d.%d", &major, &minor, &patch)
	from, listed := patchedGit[minor]
	if major > 2 || minor > newestPatchedGit || listed && patch >= from {
		return nil
	}
	fetches, err := g.fetchesLazily(ctx)
	if err != nil {
		return fmt.Errorf("find out whether %s has CVE-2024-32465: %w", version, err)
	}
	if fetches {
		return fmt.Errorf("git at %s (%s) runs commands that a repository at the source names (CVE-2024-32465); "+
			"needed are 2.39.4, 2.40.2, 2.41.1, 2.42.2, 2.43.4, 2.44.1, 2.45.1 or newer, or one that has the same patch", g.path, version)
	}
	return nil
}

// fetchesLazily asks a repository that lacks an object and says whom to ask for
// it. The one to ask is not there: who tries says so.
func (g *git) fetchesLazily(ctx context.Context) (bool, error) {
	dir, err := os.MkdirTemp("", "casq-git")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	const absent = "/casq-does-not-exist"
	config := "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tpartialClone = x\n" +
		"[remote \"x\"]\n\tpromisor = true\n\turl = file://" + absent + "\n"
	for name, content := range map[string]string{"HEAD": "ref: refs/heads/main\n", "config": config, "objects/info/x": "", "refs/heads/.x": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return false, err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return false, err
		}
	}
	_, err = g.run(ctx, gitCall{args: []string{"cat-file", "-e", strings.Repeat("1", 40)}, gitDir: dir})
	if err == nil {
		return false, fmt.Errorf("git does not do what it is asked for")
	}
	return said(err, absent), ctx.Err()
}
