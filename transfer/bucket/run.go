package bucket

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casq/transfer"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// bucketRun implements Run for files that go to a bucket.
type bucketRun struct {
	files  *Files
	bucket *bucket
	path   string
	from   string // in the source
	folder string // stagingName(path)
	claim  string
	limit  transfer.Limit
	base   *transfer.Base // nil: no copy is used that is in place under another key
	moving bool           // such a copy may be staged
	// contested says that another claim's staging was found.
	contested bool

	staged    bool
	name      string // of what is staged
	etag      string // what it has to have still when it is published; "": it is ours alone
	published bool
	// unanswered says that the server was told to write to the place, and has not
	// said what became of it.
	unanswered bool
	written    bool // the server has said yes
	closed     bool
}

// beginBucket makes the claim's mark, and then deletes the staging of others, in
// this order: of two that begin at once at least one finds the other.
func (f *Files) begin(ctx context.Context, path, from string, place transfer.Place) (transfer.Run, error) {
	if err := checkKey(path); err != nil {
		return nil, err
	}
	r := &bucketRun{files: f, bucket: f.bucket, path: path, from: from, folder: transfer.StagingName(path), claim: place.Claim, limit: transfer.Limit(place.MaxSize), base: place.Base}
	if err := r.bucket.put(ctx, r.key(stagedMark)); err != nil {
		return nil, fmt.Errorf("make staging in the bucket: %w", err)
	}
	var err error
	if r.contested, err = r.bucket.dropOthers(ctx, r.folder, r.claim); err == nil && place.Aside != 0 {
		err = r.setAside(ctx, place.Aside)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *bucketRun) key(name string) string { return claimPrefix(r.folder, r.claim) + name }

// Contested tells whether a write of an earlier run may still reach the place
// after this one's: one that was not seen to its end had begun on it.
func (r *bucketRun) Contested() bool { return r.contested }

// check returns ErrFenced unless the mark is there. It is never made again.
func (r *bucketRun) check(ctx context.Context) error {
	there := false
	if !r.closed {
		var err error
		if there, err = r.bucket.has(ctx, r.key(stagedMark)); err != nil {
			return err
		}
	}
	if !there {
		return fmt.Errorf("%w (claim %s)", transfer.ErrFenced, r.claim)
	}
	return nil
}

func (r *bucketRun) Copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	r.staged, r.published = false, false
	result, err := r.copy(ctx, payload)
	if err != nil {
		return transfer.Result{}, fmt.Errorf("copy file %q: %w", r.path, err)
	}
	r.staged = true
	r.files.hook(transfer.PointStaged)
	return result, nil
}

func (r *bucketRun) copy(ctx context.Context, payload json.RawMessage) (transfer.Result, error) {
	want, err := transfer.Expect(payload)
	if err != nil {
		return transfer.Result{}, err
	}
	if err := r.check(ctx); err != nil {
		return transfer.Result{}, err
	}
	in, err := r.files.source.Open(ctx, r.from)
	if err != nil {
		return transfer.Result{}, err
	}
	defer in.Close()
	if err := errors.Join(want.Fits(in.Size()), r.limit.Fits(in.Size())); err != nil {
		return transfer.Result{}, err
	}
	if in.Size() > maxServerCopy {
		return transfer.Result{}, fmt.Errorf("%w: it has %d bytes; S3 copies %d at most on the server (use a folder as the target)", transfer.ErrTooLarge, in.Size(), int64(maxServerCopy))
	}
	if result, moved, err := r.move(ctx, want); moved || err != nil {
		result.State = transfer.StateOf(in)
		return result, err
	}
	r.name, r.etag = stagedBytes, ""
	sum, err := r.upload(ctx, in)
	if err != nil {
		return transfer.Result{}, err
	}
	if err := want.Check(ctx, in, sum); err != nil {
		return transfer.Result{}, err
	}
	return transfer.Result{Checksum: "sha256:" + hex.EncodeToString(sum), Size: in.Size(), State: transfer.StateOf(in)}, nil
}

// upload writes to the staging key. An object is there complete or not at all.
func (r *bucketRun) upload(ctx context.Context, in transfer.Object) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := r.bucket.NewWriter(ctx, r.key(stagedBytes), &blob.WriterOptions{
		// Of each of many uploads at once two parts are in memory. 5 MiB is the
		// smallest that S3 takes.
		BufferSize: 5 << 20, MaxConcurrency: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("write to staging: %w", err)
	}
	sum, err := transfer.Stream(ctx, out, in, r.files.pace)
	if err != nil {
		cancel() // else Close would end the upload, and make it an object
		_ = out.Close()
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("write to staging: %w", err)
	}
	return sum, nil
}

// serverTime is how long the server may take to copy an object: 5 GiB in half
// a minute to some minutes.
const serverTime = 15 * time.Minute

// Publish has the server copy the bytes to the place. It may take minutes.
func (r *bucketRun) Publish(ctx context.Context) error {
	if err := r.publish(ctx); err != nil {
		return fmt.Errorf("publish file %q: %w", r.path, err)
	}
	return nil
}

func (r *bucketRun) publish(ctx context.Context) error {
	if !r.staged {
		return errors.New("nothing has been copied")
	}
	if err := r.check(ctx); err != nil || r.published {
		return err
	}
	r.files.hook(transfer.PointBeforePublish)
	r.unanswered = true
	err := r.bucket.copyWithin(ctx, r.path, r.key(r.name), r.etag)
	if err == nil {
		r.unanswered, r.published, r.written = false, true, true
		r.files.hook(transfer.PointPublished)
		return nil
	}
	if code := gcerrors.Code(err); code == gcerrors.NotFound || code == gcerrors.PermissionDenied || code == gcerrors.FailedPrecondition {
		r.unanswered = false // it was: with no
		err = errors.Join(r.check(ctx), err)
	}
	return fmt.Errorf("copy from staging in the bucket: %w", err)
}

// Remove deletes the place's key. That cannot be fenced at all: who finds himself
// fenced afterwards may have deleted what a later run had put there.
func (r *bucketRun) Remove(ctx context.Context) error {
	if err := r.remove(ctx); err != nil {
		return fmt.Errorf("remove file %q: %w", r.path, err)
	}
	return nil
}

func (r *bucketRun) remove(ctx context.Context) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	r.files.hook(transfer.PointBeforeRemove)
	r.unanswered = true
	if err := r.bucket.remove(ctx, r.path); err != nil {
		return err
	}
	r.files.hook(transfer.PointRemoved)
	if err := r.check(ctx); err != nil {
		return err
	}
	r.unanswered, r.written = false, true
	return nil
}

// Close deletes the staging. The mark of a write that was not answered stays:
// it tells the next run that the write may still come. So does that of a
// contested run which has written nothing: it has taken the other's mark away,
// and no run has compared the place for it. Such a mark is made again: its age
// says how long the write can have been under way.
func (r *bucketRun) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := r.bucket.remove(ctx, r.key(stagedBytes))
	if r.moving {
		err = errors.Join(err, r.bucket.remove(ctx, r.key(stagedMoved)))
	}
	if r.unanswered || r.contested && !r.written {
		err = errors.Join(err, r.renew(ctx))
	} else {
		err = errors.Join(err, r.bucket.remove(ctx, r.key(stagedMark)))
	}
	if err != nil {
		return fmt.Errorf("close file %q: %w", r.path, err)
	}
	return nil
}

// renew makes a mark younger, if nobody has taken it away, and so knows of it.
func (r *bucketRun) renew(ctx context.Context) error {
	there, err := r.bucket.has(ctx, r.key(stagedMark))
	if err != nil || !there {
		return err
	}
	return r.bucket.put(ctx, r.key(stagedMark))
}
