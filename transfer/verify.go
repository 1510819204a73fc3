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

// verifySums compares the SHA-256 of what is in place with that of the payload, and with
// a copy's checksum; if neither is known, with that of the source.
func verifySums(
	payload json.RawMessage, checksum string, atSource, inPlace func() ([]byte, error),
) error {
	want, err := expect(payload)
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

func wantedSums(want expectation, checksum string) (sums []wantedSum, err error) {
	if want.sha256 != nil {
		sums = append(sums, wantedSum{"the payload", want.sha256})
	}
	if checksum != "" {
		sum, err := hex.DecodeString(strings.TrimPrefix(checksum, "sha256:"))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("read stored checksum %q: not sha256:<64 hexadecimal digits>", clip(checksum))
		}
		sums = append(sums, wantedSum{"the checksum of its copy", sum})
	}
	return sums, nil
}

// sumAtSource reads a file of the source.
func sumAtSource(ctx context.Context, source Source, path string, pace *pace) ([]byte, error) {
	in, err := source.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return sumOf(ctx, in, pace)
}
