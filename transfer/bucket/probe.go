package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"casq/transfer"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// mostListed is how many objects S3 tells of in one answer.
const mostListed = 1000

// stateOf tells what an object is: an ETag is another one when the bytes are. Without one it
// is the time, in seconds, which is all that some answers have.
func stateOf(size int64, etag string, written time.Time) string {
	if etag = strings.Trim(etag, `"`); etag == "" {
		etag = written.UTC().Format(time.DateTime)
	}
	return fmt.Sprintf("%d %s", size, etag)
}

// State implements [transfer.StatedObject].
func (o *object) State() string { return stateOf(o.before.Size, o.before.ETag, o.before.ModTime) }

// State implements [transfer.Stated], by one request.
func (s *Source) State(ctx context.Context, path string) (string, error) {
	if err := checkKey(path); err != nil {
		return "", err
	}
	is, err := s.bucket.Attributes(ctx, path)
	if err != nil {
		return "", s.readError(ctx, err)
	}
	return stateOf(is.Size, is.ETag, is.ModTime), nil
}

// States implements [transfer.Listing]: a listing begins at the first path that is not told
// of, so that a request tells of a thousand where objects are those that are asked for,
// and of one at least. Where many others are between them, fewer are asked for at once.
func (s *Source) States(ctx context.Context, paths []string, told func(i int, state string, err error)) error {
	size := mostListed
	for i := 0; i < len(paths); {
		if err := checkKey(paths[i]); err != nil {
			told(i, "", err)
			i++
			continue
		}
		found, more, err := s.listFrom(ctx, paths[i], size)
		if err != nil {
			return err
		}
		n := match(paths[i:], found, more, func(n int, state string, err error) { told(i+n, state, err) })
		if n == 0 { // this server, or driver, does not begin where it is told to
			state, err := s.State(ctx, paths[i])
			if err != nil && !errors.Is(err, transfer.ErrMissing) {
				return err
			}
			told(i, state, err)
			n = 1
		}
		if i += n; n > 1 {
			size = mostListed
		} else {
			size = max(size/4, 2) // of one, nothing could tell that it was too few
		}
	}
	return nil
}

// match tells of the paths that a listing has reached, and returns how many these are.
func match(paths []string, found []*blob.ListObject, more bool, told func(n int, state string, err error)) int {
	at := 0
	for n, path := range paths {
		for at < len(found) && found[at].Key < path {
			at++
		}
		err := checkKey(path)
		switch {
		case err != nil:
			told(n, "", err)
		case at < len(found) && found[at].Key == path:
			told(n, listedState(found[at]), nil)
		case at < len(found), !more:
			told(n, "", fmt.Errorf("%w: no such object in the bucket", transfer.ErrMissing))
		default:
			return n
		}
	}
	return len(paths)
}

func listedState(o *blob.ListObject) string {
	var has types.Object
	etag := ""
	if o.As(&has) && has.ETag != nil {
		etag = *has.ETag
	}
	return stateOf(o.Size, etag, o.ModTime)
}

// listFrom lists objects from a path on; none, and that there are more, where that cannot
// be asked for.
func (s *Source) listFrom(ctx context.Context, path string, size int) (found []*blob.ListObject, more bool, err error) {
	after, begins := justBefore(path), false
	found, next, err := s.bucket.ListPage(ctx, blob.FirstPageToken, size, &blob.ListOptions{
		BeforeList: func(as func(any) bool) error {
			var input *s3.ListObjectsV2Input
			if begins = as(&input); begins {
				below := ""
				if input.Prefix != nil {
					below = *input.Prefix
				}
				input.StartAfter = new(below + after)
			}
			return nil
		},
	})
	switch {
	case gcerrors.Code(err) == gcerrors.NotFound:
		return nil, false, fmt.Errorf("%w: %w", transfer.ErrAway, err)
	case err != nil:
		return nil, false, fmt.Errorf("list the bucket: %w", err)
	case !begins, len(found) > 0 && found[0].Key <= after:
		return nil, true, nil
	}
	return found, len(next) > 0, nil
}

// justBefore is a text before path that no key is between: its last character is the one
// before, followed by the last of all.
func justBefore(path string) string {
	runes := []rune(path)
	head, last := string(runes[:len(runes)-1]), runes[len(runes)-1]-1
	switch {
	case last < ' ':
		return head
	case last >= 0xd800 && last < 0xe000: // surrogates are no characters
		last = 0xd7ff
	}
	return head + string(last) + "\U0010ffff"
}

// Lists tells whether the source tells of many files at once.
func (f *Files) Lists() bool { return transfer.Lists(f.source) }

// ProbeAll is Probe for many, in the order of their keys.
func (f *Files) ProbeAll(ctx context.Context, copies []transfer.Copied, told func(i int, differs bool, err error)) error {
	return transfer.ProbeStates(ctx, f.source, copies, told)
}

// Probe tells whether the source has something else than was copied.
func (f *Files) Probe(ctx context.Context, copied transfer.Copied) (differs bool, err error) {
	return transfer.ProbeState(ctx, f.source, copied)
}
