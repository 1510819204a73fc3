package transfer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Staged names the staging of one claim: <target>/.casq/<Folder>/<Claim>/.
type Staged struct {
	Folder string // the SHA-256 of prefix/key in hexadecimal digits
	Claim  string // as in [Place]
}

func (s Staged) check() error {
	if !isStagingName(s.Folder) {
		return fmt.Errorf("%w: %q is no folder of staging", ErrBadPlace, clip(s.Folder))
	}
	if !isUUID(s.Claim) {
		return fmt.Errorf("%w: claim %q is not a UUID in lower case", ErrBadPlace, clip(s.Claim))
	}
	return nil
}

func isStagingName(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 64 && name == strings.ToLower(name)
}

// ListStaging calls each for what is staged at present, in no order, and ends
// with its first error. It holds one page of names in memory. Staging that comes or
// goes meanwhile may be named or not; each may drop what it is called with. What
// staging would not have made is not named.
//
// A claim is committed before its staging is made. So what is named here, and is
// of no claim that the registry shows afterwards, is a left-over.
func (f *Files) ListStaging(ctx context.Context, each func(Staged) error) error {
	if f.bucket != nil {
		return f.bucket.listStaging(ctx, each)
	}
	return f.target.listStaging(ctx, each)
}

// DropStaging deletes the staging of one claim, and returns when it is gone. A
// run that still has that claim is fenced by it. It is no error that the claim has no staging.
func (f *Files) DropStaging(ctx context.Context, s Staged) error {
	if err := s.check(); err != nil {
		return err
	}
	if f.bucket != nil {
		return f.bucket.drop(ctx, s.Folder, s.Claim)
	}
	return f.target.dropStaging(ctx, s)
}

// ListStaging is that of [Files]. Refs that killed fetches have left in mirrors
// are not named: the next run on the mirror removes them.
func (r *Repositories) ListStaging(ctx context.Context, each func(Staged) error) error {
	return r.target.listStaging(ctx, each)
}

// DropStaging is that of [Files].
func (r *Repositories) DropStaging(ctx context.Context, s Staged) error {
	if err := s.check(); err != nil {
		return err
	}
	return r.target.dropStaging(ctx, s)
}

func (r *root) dropStaging(ctx context.Context, s Staged) error {
	tree, err := r.enter()
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	defer tree.leave()
	return dropStaging(ctx, tree, s.Folder, s.Claim)
}

// prune is that of the tree.
func (r *root) prune(path string) error {
	tree, err := r.enter()
	if err != nil {
		return fmt.Errorf("remove empty folders: %w", err)
	}
	defer tree.leave()
	tree.pruneParents(path)
	return nil
}

func (r *root) listStaging(ctx context.Context, each func(Staged) error) error {
	tree, err := r.enter()
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	defer tree.leave()
	top, err := tree.openDir(stagingRoot)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	defer top.Close()
	return eachName(ctx, top, isStagingName, func(folder string) error {
		shared, err := openChild(top, folder)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil // gone meanwhile, or not a folder of ours
		}
		if err != nil {
			return fmt.Errorf("list staging: %w", err)
		}
		defer shared.Close()
		return eachName(ctx, shared, isUUID, func(claim string) error {
			return each(Staged{Folder: folder, Claim: claim})
		})
	})
}

// eachName calls each for the names in dir that are wanted, and checks ctx
// before each of them.
func eachName(ctx context.Context, dir *os.File, wanted func(string) bool, each func(string) error) error {
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !wanted(name) {
				continue
			}
			if err := each(name); err != nil {
				return err
			}
		}
		// A folder that was deleted while it was read has no more names.
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list staging: %w", err)
		}
	}
}
