package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// VerifySums compares the SHA-256 of what is in place with that of the payload, and with
// a copy's checksum; if neither is known, with that of the source.
func VerifySums(
	payload json.RawMessage, checksum string, atSource, inPlace func() ([]byte, error),
) error {
	want, err := Expect(payload)
	if err != nil {
		return err
	}
	sums, err := wantedSums(want, checksum)
	if err != nil {
		return err
	}
	if len(sums) == 0 {
		sum, err := atSource()
		if err != nil {
			return err
		}
		sums = []wantedSum{{"the source", sum}}
	}
	sum, err := inPlace()
	if err != nil {
		return err
	}
	for _, want := range sums {
		if !bytes.Equal(want.sum, sum) {
			return fmt.Errorf("%w: SHA-256 is %x in place, %x by %s", ErrMismatch, sum, want.sum, want.by)
		}
	}
	return nil
}

// wantedSum is a SHA-256 and who says so.
type wantedSum struct {
	by  string
	sum []byte
}

func wantedSums(want Expectation, checksum string) (sums []wantedSum, err error) {
	if want.SHA256 != nil {
		sums = append(sums, wantedSum{"the payload", want.SHA256})
	}
	if checksum != "" {
		sum, err := hex.DecodeString(strings.TrimPrefix(checksum, "sha256:"))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("read stored checksum %q: not sha256:<64 hexadecimal digits>", Clip(checksum))
		}
		sums = append(sums, wantedSum{"the checksum of its copy", sum})
	}
	return sums, nil
}

// SumAtSource reads a file of the source.
func SumAtSource(ctx context.Context, source Source, path string, pace *Pace) ([]byte, error) {
	in, err := source.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return Sum(ctx, in, pace)
}
