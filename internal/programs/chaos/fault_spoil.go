package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"casq/internal/pause"
	"casq/jobs"
	"casq/registry"
)

// spoil is a way to damage a file. at is where in it, from 0 to 1.
type spoil struct {
	what string
	do   func(file string, at float64) error
}

var (
	flipByte = spoil{"flip a byte of", func(name string, at float64) error {
		return withFile(name, func(file *os.File, size int64) error {
			one := make([]byte, 1)
			offset := int64(at * float64(size))
			if _, err := file.ReadAt(one, offset); err != nil {
				return err
			}
			one[0] ^= 0xff
			_, err := file.WriteAt(one, offset)
			return err
		})
	}}
	cutOffEnd = spoil{"cut off", func(name string, at float64) error {
		return withFile(name, func(file *os.File, size int64) error { return file.Truncate(int64(at * float64(size))) })
	}}
	takeAway = spoil{"remove", func(name string, _ float64) error { return os.Remove(name) }}
)

// withFile opens a file that has something in it, also one that is read-only.
func withFile(name string, f func(file *os.File, size int64) error) error {
	info, err := os.Stat(name)
	if err != nil || info.Size() == 0 {
		return err
	}
	if err := os.Chmod(name, info.Mode().Perm()|0o200); err != nil {
		return err
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f(file, info.Size()), file.Chmod(info.Mode().Perm()), file.Close())
}

// spoilFile damages a copy in place, as a disk or a hand does, and asks for its
// verification.
func spoilFile(r *rand.Rand, _ config) injection {
	how, which, at := []spoil{flipByte, cutOffEnd}[r.IntN(2)], r.IntN(1<<20), r.Float64()
	return injection{
		what:  how.what + " a copied file, verify it",
		needs: []string{resourceTargets},
		run: func(ctx context.Context, c *chaos) error {
			root := c.work.path(targetFiles)
			var all []string
			err := walk(root, func(path string, entry fs.DirEntry) error {
				if entry.Type().IsRegular() {
					all = append(all, path)
				}
				return nil
			})
			if err != nil && !absent(err) || len(all) == 0 {
				return err // what is removed while one walks is absent
			}
			path := all[which%len(all)]
			kind, key, _ := strings.Cut(path, "/")
			return c.spoil(ctx, how, filepath.Join(root, path), at, subject{kind, key})
		},
	}
}

// spoilMirror damages what a mirror has of objects. A byte of a pack may be one
// that no ref needs any more, or that the index does not lead to: verification
// reads everything.
func spoilMirror(r *rand.Rand, _ config) injection {
	how, which, at := []spoil{flipByte, cutOffEnd, takeAway}[r.IntN(3)], r.IntN(1<<20), r.Float64()
	return injection{
		what:  how.what + " objects of a mirror, verify it",
		needs: []string{resourceTargets},
		run: func(ctx context.Context, c *chaos) error {
			const objects = "/objects/"
			root := c.work.path(targetRepositories)
			all, err := filepath.Glob(root + "/*/*" + objects + "*/*")
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(name string) bool { return !holdsObjects(filepath.Base(name)) })
			if len(all) == 0 {
				c.journal.say("       there is none")
				return nil
			}
			file := all[which%len(all)]
			path, _, _ := strings.Cut(strings.TrimPrefix(file, root+"/"), objects)
			return c.spoil(ctx, how, file, at, subject{kindRepository, path})
		},
	}
}

// holdsObjects is true for packs and objects of their own. The index and whatever
// else git makes of a pack are left alone: they follow from it.
func holdsObjects(name string) bool {
	return strings.HasSuffix(name, ".pack") || !strings.ContainsAny(name, ".-")
}

// spoil damages a file of a resource, unless it is gone by now, and asks for the
// verification of the resource.
func (c *chaos) spoil(ctx context.Context, how spoil, file string, at float64, of subject) error {
	err := how.do(file, at)
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("spoil %s: %w", file, err)
	}
	c.journal.say("       %s %s", how.what, strings.TrimPrefix(file, c.work.dir+"/"))
	c.spoiled.add(of)
	for began := time.Now(); time.Since(began) < verifyPatience; {
		if asked, err := c.verify(ctx, of); asked || err != nil {
			return err
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
	c.journal.say("       %s is not in place, it is verified at the end", of.key)
	return nil
}

// verifyPatience is how long a fault waits until a resource is in place, which is when
// it can be verified.
const verifyPatience = 2 * time.Second

// subject is a resource of the registry.
type subject struct{ kind, key string }

// spoiled are resources that were damaged.
//
// mu guards all.
type spoiled struct {
	mu  sync.Mutex
	all []subject
}

func (s *spoiled) add(t subject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.all, t) {
		s.all = append(s.all, t)
	}
}

// verify asks for the verification of a resource; false: it is not in place at
// present, or home is not there.
func (c *chaos) verify(ctx context.Context, t subject) (asked bool, err error) {
	queue, err := jobs.NewQueue(c.site.home.DB, quiet)
	if err != nil {
		return false, err
	}
	_, err = registry.VerifyOne(ctx, c.site.home.DB, queue, t.kind, t.key)
	if errors.Is(err, registry.ErrNoRow) || errors.Is(err, registry.ErrNotInPlace) || err != nil && lostConnection(err) {
		return false, nil
	}
	return err == nil, err
}

// verifySpoiled asks once more, when all is at rest, for what was damaged and is
// in place: a verification that was asked for is void when another version comes.
// Nothing else is verified, since that would repair what is to be found.
func (c *chaos) verifySpoiled(ctx context.Context) ([]violation, error) {
	if len(c.spoiled.all) == 0 {
		return nil, nil
	}
	inPlace := 0
	for _, t := range c.spoiled.all {
		asked, err := c.verify(ctx, t)
		if err != nil {
			return nil, err
		}
		if asked {
			inPlace++
		}
	}
	c.journal.say("%d resources were damaged, verifying %d that are in place", len(c.spoiled.all), inPlace)
	return c.quiesce(ctx)
}
