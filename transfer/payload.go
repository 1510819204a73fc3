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

// Expectation is what an event said of a file.
type Expectation struct {
	SHA256 []byte // nil: not said
	Size   int64  // -1: not said
}

// Members decodes a payload, which is a JSON object or not there at all.
func Members(payload json.RawMessage) (map[string]json.RawMessage, error) {
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

// Expect reads the members "sha256" and "size"; both may be missing or null.
func Expect(payload json.RawMessage) (Expectation, error) {
	want := Expectation{Size: -1}
	object, err := Members(payload)
	if err != nil {
		return want, err
	}
	if raw := object["sha256"]; given(raw) {
		if want.SHA256, err = decodeSum(raw); err != nil {
			return want, err
		}
	}
	if raw := object["size"]; given(raw) {
		size, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || size < 0 {
			return want, fmt.Errorf("%w: size %s is not a whole number of bytes", ErrBadPayload, Clip(string(raw)))
		}
		want.Size = size
	}
	return want, nil
}

// Fits compares what the source has with the expected size.
func (e Expectation) Fits(size int64) error {
	if e.Size >= 0 && size != e.Size {
		return fmt.Errorf("%w: %d bytes there, %d expected", ErrChanged, size, e.Size)
	}
	return nil
}

// Check decides whether what was read is what was asked for. Bytes with the
// sum that the event names are right, whatever happened to the source since.
func (e Expectation) Check(ctx context.Context, in Object, sum []byte) error {
	if e.SHA256 == nil {
		return in.Unchanged(ctx)
	}
	if !bytes.Equal(e.SHA256, sum) {
		return fmt.Errorf("%w: SHA-256 is %x there, %x expected", ErrChanged, sum, e.SHA256)
	}
	return nil
}

// Limit is how many bytes a file may have; 0 is no limit.
type Limit int64

// Fits returns [ErrTooLarge] for a size beyond the limit.
func (l Limit) Fits(size int64) error {
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
		return nil, fmt.Errorf("%w: sha256 %s is not a string", ErrBadPayload, Clip(string(raw)))
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(text, `\x`))
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%w: sha256 %q is not 64 hexadecimal digits", ErrBadPayload, Clip(text))
	}
	return sum, nil
}
