package folder_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"
)

// flushed records what is on disk if the machine dies: what a flush that has ended has
// found in the target when it began.
//
// mu guards what is below it.
type flushed struct {
	target string

	mu    sync.Mutex
	files map[string]int64 // sizes by path
	calls int
}

func (f *flushed) flush() error {
	found := map[string]int64{}
	err := filepath.WalkDir(f.target, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		if info, err := entry.Info(); err == nil {
			found[path] = info.Size()
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files = found
	f.calls++
	return err
}

// has tells whether a file is on disk with so many bytes.
func (f *flushed) has(path string, size int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	got, there := f.files[path]
	return there && got == int64(size)
}

// The order of what is durable: the bytes before the rename, and the rename before Publish
// returns, which the caller's commit follows. Many runs at once share flushes.
func TestBytesAreDurableBeforeTheirNameAndThatBeforeTheCommit(t *testing.T) {
	t.Parallel()
	b := setup(t, files)
	disk := &flushed{target: b.target}
	folder.WatchFlushes(b.TargetFolder(), disk.flush)
	const runs = 40
	var group sync.WaitGroup
	for i := range runs {
		key, content := fmt.Sprintf("%d/file", i%4*runs+i), fmt.Sprintf("bytes of %d", i)
		transfertest.Write(t, b.source, key, content)
		group.Go(func() {
			claim := transfertest.NewClaim()
			run, err := b.Begin(t.Context(), transfer.Place{Key: key, Claim: claim})
			if err == nil {
				_, err = run.Copy(t.Context(), nil)
			}
			if err != nil || !disk.has(transfertest.StagedAt(b.target, key, claim), len(content)) {
				t.Errorf("%s: copied, %v, and not on disk", key, err)
				return
			}
			if err := run.Publish(t.Context()); err != nil || !disk.has(filepath.Join(b.target, key), len(content)) {
				t.Errorf("%s: published, %v, and not on disk", key, err)
			}
			transfertest.Must(t, run.Close())
		})
	}
	group.Wait()
	if disk.calls >= 2*runs {
		t.Errorf("%d flushes for %d runs: none was shared", disk.calls, runs)
	}
}

// An error of a shared flush is one of each that shares it, and nothing is flushed together
// afterwards: it is told once, maybe to others than those whose bytes are lost.
func TestAFlushThatFailsIsAnErrorOfEach(t *testing.T) {
	t.Parallel()
	b := setup(t, files)
	failure := errors.New("the disk is broken")
	var calls atomic.Int64
	begun, goOn := make(chan struct{}), make(chan struct{})
	folder.WatchFlushes(b.TargetFolder(), func() error {
		if calls.Add(1) == 1 {
			close(begun)
			<-goOn
			return nil
		}
		return failure
	})
	sync := func(i int) error {
		key := fmt.Sprintf("file-%d", i)
		_, err := b.sync(t, key)
		return err
	}
	const more = 5
	results := make(chan error, more+1)
	for i := range more + 1 {
		transfertest.Write(t, b.source, fmt.Sprintf("file-%d", i), "bytes")
	}
	go func() { results <- sync(0) }()
	<-begun
	for i := range more {
		go func() { results <- sync(i + 1) }()
	}
	transfertest.Wait(t, func() bool { return folder.Flushing(b.TargetFolder()) == more })
	close(goOn)
	failed := 0
	for range more + 1 {
		if err := <-results; errors.Is(err, failure) {
			failed++
		} else {
			transfertest.Must(t, err)
		}
	}
	if failed < more || calls.Load() != 2 {
		t.Errorf("%d of %d failed, in %d flushes", failed, more, calls.Load())
	}
	for i := range more + 1 {
		transfertest.Must(t, sync(i)) // each by itself
	}
	if calls.Load() != 2 {
		t.Errorf("flushed together after an error: %d flushes", calls.Load())
	}
}
