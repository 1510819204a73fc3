// Package filestore keeps files that come once and are never changed, in a folder or in a
// bucket: what builds leave, for [casq/runner].
//
// A file that is there is whole, and durable. In a folder it is written under a name of
// its own in .staging, synced, and renamed; a removal takes the staged file first, so
// that a writer that was frozen has nothing to rename any more. A bucket shows an object
// when all of it has come; a writer that was frozen past the removal may still bring it.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Store is a [Folder] or a [Bucket].
type Store interface {
	Put(ctx context.Context, key string, content io.Reader) error
	Open(ctx context.Context, key string) (io.ReadSeekCloser, error)
	Remove(ctx context.Context, key string) error
	Close() error
}

// ErrBadKey says that a key is no relative path of plain names.
var ErrBadKey = errors.New("no key of a file store")

// Open opens an existing folder, named by a path or a file:// URL, or an existing bucket by its URL,
// whose gocloud.dev/blob driver the program has imported.
func Open(ctx context.Context, address string) (Store, error) {
	scheme, _, isURL := strings.Cut(address, "://")
	switch {
	case address == "":
		return nil, errors.New("open file store: no folder and no URL given")
	case !isURL:
		return OpenFolder(address)
	case scheme != "file":
		return OpenBucket(ctx, address)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("open file store: %w", err)
	}
	if parsed.Host != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errors.New("open file store: a file URL is file:///folder, with three slashes and no parameters")
	}
	return OpenFolder(parsed.Path)
}

// check accepts keys that mean the same everywhere: in folders, buckets and URLs.
func check(key string) error {
	for name := range strings.SplitSeq(key, "/") {
		plain := !strings.ContainsFunc(name, func(r rune) bool {
			return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if !plain || name == "" || name[0] == '.' || len(name) > 255 {
			return fmt.Errorf("%w: %q", ErrBadKey, key)
		}
	}
	return nil
}
