package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxPath and maxComponent are in bytes. Linux refuses names over 255; 1024
	// keeps target, prefix and key together below PATH_MAX.
	MaxPath      = 1024
	maxComponent = 255

	// StagingRoot is the folder of the target that no resource may live in.
	StagingRoot = ".casq"
)

// Paths returns the place's paths relative to target and source.
func (p Place) Paths() (path, from string, err error) {
	if !IsUUID(p.Claim) {
		return "", "", fmt.Errorf("%w: claim %q is not a UUID in lower case", ErrBadPlace, Clip(p.Claim))
	}
	return p.Unclaimed()
}

// Unclaimed is Paths for whoever only reads, and needs no claim.
func (p Place) Unclaimed() (path, from string, err error) {
	if why := BadPath(p.Key); why != "" {
		return "", "", fmt.Errorf("%w: key %q %s", ErrBadPlace, Clip(p.Key), why)
	}
	path, err = p.below(p.Prefix)
	if err == nil {
		from, err = p.below(p.SourcePrefix)
	}
	return path, from, err
}

func (p Place) below(prefix string) (string, error) {
	if prefix == "" {
		return p.Key, nil
	}
	if why := BadPath(prefix); why != "" {
		return "", fmt.Errorf("%w: prefix %q %s", ErrBadPlace, Clip(prefix), why)
	}
	return prefix + "/" + p.Key, nil
}

// BadPath says why path is not an acceptable relative path; "" if it is.
func BadPath(path string) string {
	switch {
	case path == "":
		return "is empty"
	case len(path) > MaxPath:
		return fmt.Sprintf("is %d bytes long; %d are allowed", len(path), MaxPath)
	case !utf8.ValidString(path):
		return "is not valid UTF-8"
	case strings.IndexFunc(path, IsControl) >= 0:
		return "has a NUL, newline or other control character"
	case path[0] == '/':
		return "is an absolute path; it has to be relative"
	case path[len(path)-1] == '/':
		return "ends with a slash"
	}
	for i, component := range strings.Split(path, "/") {
		if why := badComponent(component, i == 0); why != "" {
			return why
		}
	}
	return ""
}

func badComponent(component string, first bool) string {
	switch {
	case component == "":
		return "has an empty component (//)"
	case component == "." || component == "..":
		return fmt.Sprintf("has a %q component", component)
	case len(component) > maxComponent:
		return fmt.Sprintf("has a component of %d bytes; %d are allowed", len(component), maxComponent)
	case first && strings.EqualFold(component, StagingRoot):
		return "begins with " + StagingRoot + ", which is kept for staging"
	}
	return ""
}

// IsControl is true for ASCII and C1 control characters. U+2028 and U+2029 are
// let through: no file system and no protocol in use here gives them a meaning.
func IsControl(r rune) bool {
	return r < 0x20 || (r >= 0x7f && r <= 0x9f)
}

// IsUUID tells whether s is a UUID in its usual form, in lower case.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hexadecimal := (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')
		if dash != (c == '-') || (!dash && !hexadecimal) {
			return false
		}
	}
	return true
}

// Clip shortens what a message quotes.
func Clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// AsideName is what a copy is called that was put aside: of a place's path, and of the
// incarnation of the key that it was.
func AsideName(path string, incarnation int64) string {
	return fmt.Sprintf("%s-%d", StagingName(path), incarnation)
}

// BaseOf is where a resource is, under the key that it had, in a place's prefix.
func (p Place) BaseOf(key string, incarnation int64) (*Base, error) {
	if why := BadPath(key); why != "" {
		return nil, fmt.Errorf("%w: key %q %s", ErrBadPlace, Clip(key), why)
	}
	p.Key = key
	path, err := p.below(p.Prefix)
	return &Base{Path: path, Incarnation: incarnation}, err
}

// StagingName is the folder below .casq that the claims on path share. A hash,
// because the path itself would bring its folders and its length along.
func StagingName(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])
}
