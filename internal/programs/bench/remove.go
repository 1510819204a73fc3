package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"casq/internal/programs/bench/measure"
)

const removeCount = 3_000

// removeFiles: seconds from the start of a worker with 3,000 committed deletes to as
// many files that are gone, against those of their copy. Where the temporary folder is
// on ext4 without a journal it measures that, see the trade-offs in
// transfer/DESIGN.md.
func removeFiles(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	folder, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	source := filepath.Join(folder, "source")
	if err := s.makeFiles(ctx, source, removeCount); err != nil {
		return nil, err
	}
	round := 0
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		round++
		copied, removed, err := s.removeRound(ctx, source, filepath.Join(folder, fmt.Sprintf("target%d", round)))
		f.Add("ours", removed.Seconds())
		f.Add("copied", copied.Seconds())
		return err
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("remove", "ours", "copied", "s",
		fmt.Sprintf("%d files of %d bytes in 100 folders; reference: their copy by the same worker", removeCount, copySize))}, nil
}

func (s *site) removeRound(ctx context.Context, source, target string) (copied, removed time.Duration, err error) {
	if copied, err = s.copyRound(ctx, source, target); err != nil {
		return 0, 0, err
	}
	removed, err = s.workOff(ctx, source, target, "deleted")
	return copied, removed, err
}
