package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// holes are the holes of a file that is copied to another one: they are not read,
// and become holes there. For any other object there are none.
type holes struct {
	in, out *os.File // nil: they are not looked for
	size    int64
	dataEnd int64 // up to here there is no hole
}

func holesOf(in Object, out io.Writer) *holes {
	from, ok := in.(Sparse)
	to, isFile := out.(*os.File)
	if !ok || !isFile {
		return &holes{dataEnd: in.Size()}
	}
	return &holes{in: from.Holes(), out: to, size: in.Size()}
}

// skip passes the hole at offset, if there is one: it goes into the sum as the
// zeros that it is read as. It returns how long it is.
func (h *holes) skip(ctx context.Context, offset int64, sum *summer) (int64, error) {
	if h.in == nil || offset < h.dataEnd || offset >= h.size {
		return 0, nil
	}
	data, err := h.in.Seek(offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // up to the end
		data, err = h.size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		h.in = nil // the file system does not tell
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find holes at the source: %w", err)
	}
	data = min(data, h.size)
	if err := h.nextData(data); err != nil || data == offset {
		return 0, err
	}
	if err := sumZeros(ctx, sum, data-offset); err != nil {
		return 0, err
	}
	// The size as well: nothing may follow.
	if err := h.out.Truncate(data); err != nil {
		return 0, fmt.Errorf("write to staging: %w", err)
	}
	if _, err := h.out.Seek(data, io.SeekStart); err != nil {
		return 0, fmt.Errorf("write to staging: %w", err)
	}
	return data - offset, nil
}

// nextData finds the end of the data that begin at an offset, and goes back there.
func (h *holes) nextData(data int64) error {
	h.dataEnd = h.size
	if data < h.size {
		end, err := h.in.Seek(data, unix.SEEK_HOLE)
		if err != nil && !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("find holes at the source: %w", err)
		}
		if err == nil {
			h.dataEnd = end
		}
	}
	if _, err := h.in.Seek(data, io.SeekStart); err != nil {
		return fmt.Errorf("find holes at the source: %w", err)
	}
	return nil
}

// until is how much of n bytes to read at an offset, so that no hole is read.
// Behind the last data it is all, to notice a file that grows.
func (h *holes) until(offset int64, n int) int {
	if h.in == nil || h.dataEnd >= h.size {
		return n
	}
	return int(min(int64(n), max(h.dataEnd-offset, 1)))
}

var zeros [copyBuffer]byte

func sumZeros(ctx context.Context, sum *summer, n int64) error {
	for n > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := min(n, int64(len(zeros)))
		sum.Write(zeros[:part])
		n -= part
	}
	return nil
}
