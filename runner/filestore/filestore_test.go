package filestore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/expect"
	"casq/runner/filestore"

	"go.uber.org/goleak"
	_ "gocloud.dev/blob/memblob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var must = expect.NoError

// each runs a test with both stores.
func each(t *testing.T, test func(t *testing.T, store filestore.Store)) {
	t.Parallel()
	for name, address := range map[string]string{"folder": t.TempDir(), "bucket": "mem://"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := filestore.Open(t.Context(), address)
			must(t, err)
			t.Cleanup(func() { must(t, store.Close()) })
			test(t, store)
		})
	}
}

func content(t *testing.T, store filestore.Store, key string) string {
	t.Helper()
	file, err := store.Open(t.Context(), key)
	must(t, err)
	defer file.Close()
	text, err := io.ReadAll(file)
	must(t, err)
	return string(text)
}

const key = "builds/1/1/archive/a"

func TestPutOpenRemove(t *testing.T) {
	each(t, func(t *testing.T, store filestore.Store) {
		large := strings.Repeat("0123456789", 1<<18)
		must(t, store.Put(t.Context(), key, strings.NewReader(large)))
		if content(t, store, key) != large {
			t.Error("what is there is something else")
		}
		file, err := store.Open(t.Context(), key)
		must(t, err)
		if end, err := file.Seek(0, io.SeekEnd); err != nil || end != int64(len(large)) {
			t.Errorf("its end is at %d: %v", end, err)
		}
		must(t, file.Close())
		for range 2 {
			must(t, store.Remove(t.Context(), key))
		}
		if _, err := store.Open(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after its removal: %v", err)
		}
	})
}

// breaking ends with an error after some bytes.
type breaking struct{ r io.Reader }

var errBroken = errors.New("broken")

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errBroken
	}
	return n, err
}

func TestABrokenPutLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, store filestore.Store) {
		if err := store.Put(t.Context(), key, breaking{strings.NewReader("some")}); !errors.Is(err, errBroken) {
			t.Errorf("Put returned %v", err)
		}
		if _, err := store.Open(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what did not come is there: %v", err)
		}
	})
}

func TestBadKeysAreRefused(t *testing.T) {
	each(t, func(t *testing.T, store filestore.Store) {
		for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".staging/a", "a/b c", "a\x00", "ä", strings.Repeat("a", 256)} {
			if err := store.Put(t.Context(), key, strings.NewReader("")); !errors.Is(err, filestore.ErrBadKey) {
				t.Errorf("Put %q returned %v", key, err)
			}
			if _, err := store.Open(t.Context(), key); !errors.Is(err, filestore.ErrBadKey) {
				t.Errorf("Open %q returned %v", key, err)
			}
			if err := store.Remove(t.Context(), key); !errors.Is(err, filestore.ErrBadKey) {
				t.Errorf("Remove %q returned %v", key, err)
			}
		}
	})
}

func TestWhatCannotBeOpenedIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", filepath.Join(t.TempDir(), "none"), "file://host/folder", "none://bucket"} {
		if store, err := filestore.Open(t.Context(), address); err == nil {
			_ = store.Close()
			t.Errorf("%q was opened", address)
		}
	}
}

// files are all files below a folder.
func files(t *testing.T, folder string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && path != folder && filepath.Base(path) != ".staging" {
			found = append(found, entry.Name())
		}
		return err
	}))
	return found
}

// meanwhile calls f when it has been read to its end.
type meanwhile struct {
	r io.Reader
	f func()
}

func (m meanwhile) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if errors.Is(err, io.EOF) {
		m.f()
	}
	return n, err
}

// A writer was frozen; meanwhile what it wrote was removed as a left-over.
func TestWhatWasRemovedMeanwhileIsNotPublished(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store, err := filestore.OpenFolder(folder)
	must(t, err)
	defer store.Close()
	err = store.Put(t.Context(), key, meanwhile{strings.NewReader("late"), func() { must(t, store.Remove(t.Context(), key)) }})
	if err == nil {
		t.Error("what was removed was published")
	}
	if found := files(t, folder); len(found) != 1 || found[0] != "builds" {
		t.Errorf("there are %v", found)
	}
	if _, err := store.Open(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed is there: %v", err)
	}
}

func TestNoFolderIsLeft(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	store, err := filestore.OpenFolder(folder)
	must(t, err)
	defer store.Close()
	must(t, store.Put(t.Context(), key, bytes.NewReader(nil)))
	must(t, store.Put(t.Context(), "builds/2/1/archive/a", bytes.NewReader(nil)))
	must(t, store.Remove(t.Context(), key))
	if _, err := os.Lstat(filepath.Join(folder, "builds", "1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder is there: %v", err)
	}
	if content(t, store, "builds/2/1/archive/a") != "" {
		t.Error("the other file is another")
	}
}
