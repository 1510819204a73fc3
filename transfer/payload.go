package transfer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// expectation is what an event said of a file.
type expectation struct {
	sha256 []byte // nil: not said
	Size   int64  // -1: not said
}

// members decodes a payload, which is a JSON object or not there at all.
func members(payload json.RawMessage) (map[string]json.RawMessage, error) {
	if len(bytes.TrimSpace(payload)) == 0 {
		return nil, nil
	}
	// A map and not a struct: encoding/json takes "SHA256" for "sha256".
	var object map[string]json.RawMessage
	if err := json.Unmarshal(payload, &object); err != nil {
		return nil, fmt.Errorf("%w: decode as a JSON object: %w", ErrBadPayload, err)
	}
	if object == nil {
		return nil, fmt.Errorf("%w: null in place of a JSON object", ErrBadPayload)
	}
	return object, nil
}

// expect reads the members "sha256" and "size"; both may be missing or null.
func expect(payload json.RawMessage) (expectation, error) {
	want := expectation{Size: -1}
	object, err := members(payload)
	if err != nil {
		return want, err
	}
	if raw := object["sha256"]; given(raw) {
		if want.sha256, err = decodeSum(raw); err != nil {
			return want, err
		}
	}
	if raw := object["size"]; given(raw) {
		size, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || size < 0 {
			return want, fmt.Errorf("%w: size %s is not a whole number of bytes", ErrBadPayload, clip(string(raw)))
		}
		want.Size = size
	}
	return want, nil
}

// fits compares what the source has with the expected size.
func (e expectation) fits(size int64) error {
	if e.Size >= 0 && size != e.Size {
		return fmt.Errorf("%w: %d bytes there, %d expected", ErrChanged, size, e.Size)
	}
	return nil
}

// check decides whether what was read is what was asked for. Bytes with the
// sum that the event names are right, whatever happened to the source since.
func (e expectation) check(ctx context.Context, in Object, sum []byte) error {
	if e.sha256 == nil {
		return in.Unchanged(ctx)
	}
	if !bytes.Equal(e.sha256, sum) {
		return fmt.Errorf("%w: SHA-256 is %x there, %x expected", ErrChanged, sum, e.sha256)
	}
	return nil
}

// limit is how many bytes a file may have; 0 is no limit.
type limit int64

func (l limit) fits(size int64) error {
	if l > 0 && size > int64(l) {
		return fmt.Errorf("%w: it has %d bytes, and its kind's size limit is %d; resync it when that is raised", ErrTooLarge, size, l)
	}
	return nil
}

func given(raw json.RawMessage) bool {
	return raw != nil && string(raw) != "null"
}

// decodeSum takes 64 hexadecimal digits, also as Postgres writes a bytea
// column into JSON (with \x before them).
func decodeSum(raw json.RawMessage) ([]byte, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("%w: sha256 %s is not a string", ErrBadPayload, clip(string(raw)))
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(text, `\x`))
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%w: sha256 %q is not 64 hexadecimal digits", ErrBadPayload, clip(text))
	}
	return sum, nil
}
