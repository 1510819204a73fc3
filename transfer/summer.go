package transfer

import (
	"crypto/sha256"
	"hash"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// summer hashes what is copied: where that is more than a buffer, in a goroutine of its own,
// while the same bytes are written and the next ones are read into the other buffer.
type summer struct {
	hash hash.Hash
	// todo is not buffered: who has sent knows that all that was sent before is hashed. nil:
	// there is no goroutine.
	todo    chan []byte
	done    chan struct{}
	end     func() // of the goroutine
	buffers [2][]byte
	turn    int
}

func newSummer(beside bool, size int) *summer {
	s := &summer{hash: sha256.New(), end: func() {}}
	s.buffers[0] = make([]byte, size)
	if !beside {
		s.buffers[1] = s.buffers[0]
		return s
	}
	s.buffers[1], s.todo, s.done = make([]byte, size), make(chan []byte), make(chan struct{})
	s.end = sync.OnceFunc(func() {
		close(s.todo)
		<-s.done
	})
	go func() {
		defer close(s.done)
		for part := range s.todo {
			s.hash.Write(part)
		}
	}()
	return s
}

// buffer is the one that is not being hashed.
func (s *summer) buffer() []byte { return s.buffers[s.turn] }

// Write hashes p, which must not be changed before the next call has returned.
func (s *summer) Write(p []byte) {
	if s.todo == nil {
		s.hash.Write(p)
	} else {
		s.todo <- p
		s.turn = 1 - s.turn
	}
}

func (s *summer) sum() []byte {
	s.end()
	return s.hash.Sum(nil)
}

// earlySize is how much of a large file is handed to its disk at once, so that little is left
// for the flush at its end.
const earlySize = 8 << 20

// early has a large file written to its disk while it is copied.
type early struct {
	out   *os.File // nil: it is not
	begun int64
}

func earlyOf(out io.Writer, size int64) *early {
	file, ok := out.(*os.File)
	if !ok || size < 2*earlySize {
		return &early{}
	}
	return &early{out: file}
}

// written says that all up to an offset was written to the file. An error is told by the
// flush at the end.
func (e *early) written(upTo int64) {
	if e.out == nil || upTo-e.begun < earlySize {
		return
	}
	_ = unix.SyncFileRange(int(e.out.Fd()), e.begun, upTo-e.begun, unix.SYNC_FILE_RANGE_WRITE)
	e.begun = upTo
}
