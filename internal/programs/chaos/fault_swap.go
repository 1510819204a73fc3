package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"casq/internal/pause"
)

// swap is what has a folder's name for a while.
type swap struct {
	what string
	// make puts it there; the folder itself is at away.
	make func(c *chaos, name, away string) error
}

var swaps = []swap{
	{"move %s away", func(*chaos, string, string) error { return nil }},
	{"move %s away and make it anew, empty", func(_ *chaos, name, _ string) error { return os.Mkdir(name, 0o700) }},
	{"let a link lead from %s to it", func(_ *chaos, name, away string) error { return os.Symlink(away, name) }},
	{"let a link lead from %s to it, and to an empty folder", func(c *chaos, name, away string) error {
		if err := os.Symlink(away, name); err != nil {
			return err
		}
		other := c.newName()
		if err := os.Mkdir(other, 0o700); err != nil {
			return err
		}
		link := c.newName()
		if err := os.Symlink(other, link); err != nil {
			return err
		}
		return os.Rename(link, name)
	}},
}

// swapTarget gives the name of a target to another folder and back. What has been
// written into the other one meanwhile is lost with it.
func swapTarget(r *rand.Rand, _ config) injection {
	return swapFolder(r, []string{targetFiles, targetRepositories}, []string{resourceTargets}, func(*chaos) func() { return func() {} })
}

// swapSource does the same with a source. The application waits: it would write
// into the wrong folder. So would a worker that opened it meanwhile, to keep what builds
// leave; one that runs has the right one open.
func swapSource(r *rand.Rand, _ config) injection {
	return swapFolder(r, []string{sourceFiles, sourceRepositories}, append([]string{resourceSources}, atPrimary...), func(c *chaos) func() {
		c.writer.gate.Lock()
		return c.writer.gate.Unlock
	})
}

func swapFolder(r *rand.Rand, folders, needs []string, enter func(*chaos) (leave func())) injection {
	folder, how, d := folders[r.IntN(len(folders))], swaps[r.IntN(len(swaps))], between(r, 100*time.Millisecond, 3*time.Second)
	return injection{
		what:  fmt.Sprintf(how.what+" for %s", folder, d),
		needs: needs,
		run: func(ctx context.Context, c *chaos) error {
			defer enter(c)()
			name, away := c.work.path(folder), c.newName()
			if !usedBefore(folder, name) {
				c.journal.say("       %s has no mark yet", folder)
				return nil
			}
			if err := os.Rename(name, away); err != nil {
				return err
			}
			err := how.make(c, name, away)
			if err == nil {
				err = pause.For(ctx, d)
			}
			// What has the name goes elsewhere as a whole: somebody may be at work in it.
			if gone := os.Rename(name, c.newName()); gone != nil && !absent(gone) {
				err = errors.Join(err, gone)
			}
			return errors.Join(err, os.Rename(away, name))
		},
	}
}

// usedBefore is false for a target that has no mark yet: whichever folder a worker
// finds under the name at first is the target.
func usedBefore(folder, name string) bool {
	if folder != targetFiles && folder != targetRepositories {
		return true
	}
	_, err := os.Stat(filepath.Join(name, stagingFolder, markName))
	return err == nil
}

// newName is one for a folder or link that nobody else looks at.
func (c *chaos) newName() string {
	return c.work.path(swapped, strconv.FormatInt(c.names.Add(1), 10))
}
