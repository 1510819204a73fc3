package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// fileStore is the source folder of files. Contents follow from a number, so that
// any of them can be made again when the database says that it is to be there.
//
// mu guards made.
type fileStore struct {
	root, incoming string
	names          atomic.Int64

	mu   sync.Mutex
	made map[string]recipe // by SHA-256
}

// recipe is what a content is made from.
type recipe struct {
	number uint64
	size   int64
}

func newFileStore(root, incoming string) *fileStore {
	return &fileStore{root: root, incoming: incoming, made: make(map[string]recipe)}
}

// Sizes of files: most are small, one in thirty takes a while to copy.
const (
	smallFile = 20_000
	largeFile = 4_000_000
	largeOne  = 30
)

// invent chooses a content that was never there.
func (s *fileStore) invent(r *rand.Rand) (sum string, size int64) {
	made := recipe{number: r.Uint64(), size: r.Int64N(smallFile)}
	if r.IntN(largeOne) == 0 {
		made.size = r.Int64N(largeFile)
	}
	hash := sha256.Sum256(made.bytes())
	sum = hex.EncodeToString(hash[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[sum] = made
	return sum, made.size
}

func (m recipe) bytes() []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], m.number)
	content := make([]byte, m.size)
	_, _ = rand.NewChaCha8(seed).Read(content) // never fails
	return content
}

// put makes a file what its row says, in one step.
func (s *fileStore) put(path, sum string) error {
	s.mu.Lock()
	made, known := s.made[sum]
	s.mu.Unlock()
	if !known {
		return fmt.Errorf("write %s: nobody made a content with SHA-256 %s", path, sum)
	}
	fresh := filepath.Join(s.incoming, strconv.FormatInt(s.names.Add(1), 10))
	if err := os.WriteFile(fresh, made.bytes(), 0o600); err != nil {
		return err
	}
	place := filepath.Join(s.root, path)
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return err
	}
	return os.Rename(fresh, place)
}

// restore makes a file what its row says; an empty sum: not there. The folder
// that a flip leaves empty goes with it.
func (s *fileStore) restore(path, sum string) error {
	place := filepath.Join(s.root, path)
	if sum == "" {
		if err := os.Remove(place); err != nil && !absent(err) {
			return err
		}
		if dir := filepath.Dir(place); isFlip(path) && dir != filepath.Join(s.root, flipFolder) {
			if err := os.Remove(dir); err != nil && !absent(err) {
				return err
			}
		}
		return nil
	}
	content, err := os.ReadFile(place)
	if err != nil && !absent(err) {
		return err
	}
	if hash := sha256.Sum256(content); err == nil && hex.EncodeToString(hash[:]) == sum {
		return nil
	}
	return s.put(path, sum)
}

// absent is true for a path that leads nowhere, also one through a file, and
// for a folder with something in it.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENOTEMPTY) ||
		errors.Is(err, syscall.EISDIR)
}
