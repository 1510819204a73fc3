package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// journal tells what happens, with seconds since the start: to whoever
// watches, and to a file.
//
// mu guards the writers.
type journal struct {
	began time.Time

	mu   sync.Mutex
	out  io.Writer
	file *os.File
}

func openTimeline(out io.Writer, path string) (*journal, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("keep a log of the faults: %w", err)
	}
	return &journal{began: time.Now(), out: out, file: file}, nil
}

func (t *journal) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("%7.2f s  %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
	fmt.Fprint(t.out, text)
	fmt.Fprint(t.file, text)
}

func (t *journal) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
