package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// copyBuffer is the size of one read. Larger ones gained nothing measurable.
const copyBuffer = 256 << 10

// Stream copies as many bytes as in has said it has, and returns their SHA-256.
// It checks ctx between reads, and reads one byte more to notice a file that
// grows, but never fills the disk with it.
func Stream(ctx context.Context, out io.Writer, in Object, pace *Pace) ([]byte, error) {
	size := min(copyBuffer, in.Size()+1, pace.most())
	sum := newSummer(in.Size() > size, int(size))
	defer sum.end()
	holes, early := holesOf(in, out), earlyOf(out, in.Size())
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		hole, err := holes.skip(ctx, done, sum)
		if err != nil {
			return nil, err
		}
		done += hole
		buffer := sum.buffer()
		n, err := in.Read(buffer[:holes.until(done, len(buffer))])
		done += int64(n)
		if done > in.Size() {
			return nil, fmt.Errorf("%w: grew beyond %d bytes while it was read", ErrChanged, in.Size())
		}
		if n > 0 {
			sum.Write(buffer[:n])
			if _, err := out.Write(buffer[:n]); err != nil {
				return nil, fmt.Errorf("write to staging: %w", err)
			}
			early.written(done)
		}
		if errors.Is(err, io.EOF) {
			if done < in.Size() {
				return nil, fmt.Errorf("%w: ended after %d of %d bytes", ErrChanged, done, in.Size())
			}
			return sum.sum(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read from source: %w", err)
		}
		if err := pace.wait(ctx, n); err != nil {
			return nil, err
		}
	}
}

// Sum reads all of in, and returns the SHA-256.
func Sum(ctx context.Context, in io.Reader, pace *Pace) ([]byte, error) {
	hash := sha256.New()
	buffer := make([]byte, copyBuffer)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, err := in.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return hash.Sum(nil), nil
		}
		if err != nil {
			return nil, err
		}
		if err := pace.wait(ctx, n); err != nil {
			return nil, err
		}
	}
}
