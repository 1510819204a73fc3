package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
)

// content is what a file holds.
type content struct {
	size int64
	sum  [sha256.Size]byte
}

func (c content) sha256() string { return hex.EncodeToString(c.sum[:]) }

// artifact is a file that has a row.
type artifact struct {
	path string
	content
}

// fileStore is the primary site's folder of files. A file appears, and changes, by
// one rename: whoever reads it sees the old bytes or the new ones.
type fileStore struct {
	root     string
	incoming string
	made     sync.Map // folders that are there
	last     atomic.Int64
}

func (s *fileStore) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// put makes from's bytes the content of key.
func (s *fileStore) put(key string, from io.Reader) (content, error) {
	temporary := filepath.Join(s.incoming, strconv.FormatInt(s.last.Add(1), 10))
	got, err := write(temporary, from)
	if err == nil {
		err = s.makeParent(key)
	}
	if err == nil {
		err = os.Rename(temporary, s.path(key))
	}
	if err != nil {
		// It may not have come to be.
		_ = os.Remove(temporary)
		return content{}, err
	}
	return got, nil
}

func (s *fileStore) makeParent(key string) error {
	parent := filepath.Dir(s.path(key))
	if _, made := s.made.Load(parent); made {
		return nil
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	s.made.Store(parent, true)
	return nil
}

func (s *fileStore) remove(key string) error { return os.Remove(s.path(key)) }

// bufferSize is that of one copy: larger ones gain nothing.
const bufferSize = 128 << 10

var buffers = sync.Pool{New: func() any {
	buffer := make([]byte, bufferSize)
	return &buffer
}}

// readError is an error of the reading side of a copy.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

type reader struct{ io.Reader }

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = readError{err}
	}
	return n, err
}

// write fills a new file and returns what it holds.
func write(path string, from io.Reader) (content, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return content{}, err
	}
	sum := sha256.New()
	size, err := pour(io.MultiWriter(sum, file), from)
	err = errors.Join(err, file.Close())
	return summed(sum, size), err
}

// read returns what a file holds.
func read(path string) (content, error) {
	file, err := openRegular(path)
	if err != nil {
		return content{}, err
	}
	defer file.Close()
	sum := sha256.New()
	size, err := pour(sum, file)
	if err != nil {
		return content{}, fmt.Errorf("read %s: %w", path, err)
	}
	return summed(sum, size), nil
}

func pour(to io.Writer, from io.Reader) (int64, error) {
	buffer, _ := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	// The wrappers hide ReadFrom and WriteTo, which would not use the buffer.
	return io.CopyBuffer(struct{ io.Writer }{to}, reader{from}, *buffer)
}

func summed(sum hash.Hash, size int64) content {
	c := content{size: size}
	sum.Sum(c.sum[:0])
	return c
}
