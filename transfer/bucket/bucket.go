package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"strings"
	"time"

	"casq/transfer"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// bucket is a target without rename, locks and folders. A claim's staging there
// is a mark, made by Begin, and the bytes:
//
//	.casq/<hash of path>/<claim>/begun
//	                            /bytes
//
// As in a folder, who has no staging any more is fenced. But what the server was
// told before that may still be carried out: see DESIGN.md.
type bucket struct {
	*blob.Bucket
	// leftoverAge is how old staging is before it is named as a left-over.
	leftoverAge time.Duration
}

// leftoverAge is longer than any server works on what it was told. Until then a
// mark of a claim that is over may tell the next run of a write that can still
// come.
const leftoverAge = time.Hour

// Names below a claim's staging.
const (
	stagedMark  = "begun"
	stagedBytes = "bytes"
	stagedMoved = "moved" // by the server, from the key that the resource had
)

// maxServerCopy is the largest object that S3 copies in one request, in bytes.
const maxServerCopy = 5 << 30

// ErrUnreachable says that a bucket's server does not answer. It may yet.
var ErrUnreachable = errors.New("bucket cannot be reached")

// openBucket opens a bucket and checks whether it may be listed.
func openBucket(ctx context.Context, address string) (*bucket, error) {
	opened, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, transfer.RedactError(fmt.Errorf("%w (buckets are s3://name?region=...; folders are paths)", err))
	}
	there, err := opened.IsAccessible(ctx)
	switch {
	case err == nil && there:
		return &bucket{opened, leftoverAge}, nil
	case err == nil:
		err = errors.New("no such bucket; create it, or correct the name, the region or the endpoint in the URL")
	case gcerrors.Code(err) == gcerrors.PermissionDenied:
		err = transfer.RedactError(fmt.Errorf("%w (the worker's credentials have to be allowed to list the bucket, and to get, put and delete its objects)", err))
	case isNetwork(err):
		err = transfer.RedactError(fmt.Errorf("%w: %w (check the endpoint in the URL, and the network)", ErrUnreachable, err))
	default:
		err = transfer.RedactError(fmt.Errorf("%w (check the region and the endpoint in the URL, and the worker's credentials)", err))
	}
	return nil, errors.Join(err, opened.Close())
}

func isNetwork(err error) bool {
	_, is := errors.AsType[net.Error](err)
	return is
}

// checkKey refuses what the driver would store under another name, and what
// S3 has no room for.
func checkKey(path string) error {
	switch {
	case strings.Contains(path, "../"):
		return fmt.Errorf("%w: %q has a component that ends in two dots, which buckets cannot have", transfer.ErrBadPlace, transfer.Clip(path))
	case strings.Contains(path, "__0x"):
		return fmt.Errorf("%w: %q has __0x in it, which buckets cannot have", transfer.ErrBadPlace, transfer.Clip(path))
	case len(path) > transfer.MaxPath:
		return fmt.Errorf("%w: prefix and key are %d bytes long; buckets allow %d", transfer.ErrBadPlace, len(path), transfer.MaxPath)
	}
	return nil
}

func claimPrefix(folder, claim string) string {
	return transfer.StagingRoot + "/" + folder + "/" + claim + "/"
}

// put writes a small object.
func (b *bucket) put(ctx context.Context, key string) error {
	return b.WriteAll(ctx, key, nil, &blob.WriterOptions{ContentType: "application/octet-stream"})
}

// has is false only if the server says so.
func (b *bucket) has(ctx context.Context, key string) (bool, error) {
	there, err := b.Exists(ctx, key)
	if err != nil {
		return false, fmt.Errorf("read %s in the bucket: %w", key, err)
	}
	return there, nil
}

// remove deletes an object, which may not be there.
func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.Delete(ctx, key)
	if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete %s in the bucket: %w", key, err)
	}
	return nil
}

// each calls f for the keys that begin with prefix, in pages of a thousand.
func (b *bucket) each(ctx context.Context, prefix string, f func(key string) error) error {
	return b.eachObject(ctx, prefix, func(o *blob.ListObject) error { return f(o.Key) })
}

func (b *bucket) eachObject(ctx context.Context, prefix string, f func(o *blob.ListObject) error) error {
	objects := b.List(&blob.ListOptions{Prefix: prefix})
	for {
		object, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s in the bucket: %w", prefix, err)
		}
		if err := f(object); err != nil {
			return err
		}
	}
}

// drop deletes the staging of one claim: the mark first. Whoever finds his mark
// gone stops, and a run that found it before has bytes that the listing then shows.
func (b *bucket) drop(ctx context.Context, folder, claim string) error {
	prefix := claimPrefix(folder, claim)
	if err := b.remove(ctx, prefix+stagedMark); err != nil {
		return err
	}
	return b.each(ctx, prefix, func(key string) error { return b.remove(ctx, key) })
}

// maxListings bounds the loop that repeats because other claims keep coming.
const maxListings = 128

// dropOthers deletes the staging of all other claims, again until a listing
// that began after the last deletion shows no other claim, and says whether there was any.
func (b *bucket) dropOthers(ctx context.Context, folder, claim string) (found bool, err error) {
	for range maxListings {
		others := map[string]bool{}
		err := b.each(ctx, transfer.StagingRoot+"/"+folder+"/", func(key string) error {
			if s, ok := stagedKey(key); ok && s.Claim != claim {
				others[s.Claim] = true
			}
			return nil
		})
		if err != nil || len(others) == 0 {
			return found, err
		}
		found = true
		for other := range others {
			if err := b.drop(ctx, folder, other); err != nil {
				return found, err
			}
		}
	}
	return found, fmt.Errorf("remove staging of earlier claims in %s: more keep coming", folder)
}

// stagedKey takes .casq/<folder>/<claim>/<name> apart.
func stagedKey(key string) (transfer.Staged, bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 || parts[0] != transfer.StagingRoot {
		return transfer.Staged{}, false
	}
	s := transfer.Staged{Folder: parts[1], Claim: parts[2]}
	return s, s.Check() == nil
}

// listStaging names what is old enough: see leftoverAge. A
// run writes to the place right after it has made its mark or its bytes, or else
// makes the mark again. Keys come in order, so that those of one claim come
// together.
func (b *bucket) listStaging(ctx context.Context, each func(transfer.Staged) error) error {
	var last transfer.Staged
	var newest time.Time
	name := func() error {
		if last == (transfer.Staged{}) || time.Since(newest) < b.leftoverAge {
			return nil
		}
		return each(last)
	}
	err := b.eachObject(ctx, transfer.StagingRoot+"/", func(o *blob.ListObject) error {
		s, ok := stagedKey(o.Key)
		if !ok {
			return nil
		}
		if s != last {
			if err := name(); err != nil {
				return err
			}
			last, newest = s, o.ModTime
		}
		if o.ModTime.After(newest) {
			newest = o.ModTime
		}
		return nil
	})
	if err != nil {
		return err
	}
	return name()
}

// location is what tells buckets apart: scheme, endpoint and name.
func location(address *url.URL) string {
	endpoint := strings.ToLower(strings.TrimRight(address.Query().Get("endpoint"), "/"))
	return address.Scheme + "://" + address.Host + path.Clean("/"+address.Path) + " " + endpoint
}

// disjoint refuses a source and a target of which one contains the
// other: a publish would write into the source.
func disjoint(source, target string) error {
	from, err := url.Parse(source)
	if err != nil {
		return transfer.RedactError(err)
	}
	to, err := url.Parse(target)
	if err != nil {
		return transfer.RedactError(err)
	}
	a, b := from.Query().Get("prefix"), to.Query().Get("prefix")
	if location(from) != location(to) || (!strings.HasPrefix(a, b) && !strings.HasPrefix(b, a)) {
		return nil
	}
	return fmt.Errorf("source and target are in bucket %s, and the prefixes %q and %q lie inside each other; use separate prefixes or buckets",
		from.Host, a, b)
}
