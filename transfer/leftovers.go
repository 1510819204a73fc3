package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// dropStaging deletes the staging of one claim, and returns when it is gone.
func (r *root) dropStaging(ctx context.Context, s Staged) error {
	if err := s.check(); err != nil {
		return err
	}
	tree, err := r.enter()
	if err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	defer tree.leave()
	return tree.dropStaging(ctx, s)
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

// listStaging calls each for what is staged, and ends with its first error.
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
