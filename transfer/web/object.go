package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"casq/internal/pause"
	"casq/transfer"
)

// Headers by which a worker that serves tells what a file is besides its bytes.
const (
	// ModeHeader has the permission bits, in octal digits.
	ModeHeader = "Casq-Mode"
	// WrittenHeader has when the file was written last, in nanoseconds since 1970.
	WrittenHeader = "Casq-Written"
	// SourceHeader is in each answer of who sends files of another site: a 404 with it is
	// of a file, and not of a wrong address.
	SourceHeader = "Casq-Source"
)

// Tries of an interrupted download that bring no byte: so many follow each other, each after
// twice the pause of the one before.
const (
	mostTries  = 8
	firstPause = 100 * time.Millisecond
)

// errSilent is why a download is given up and begun again.
var errSilent = errors.New("the source sends nothing any more")

// Open implements [transfer.Source].
func (s *Source) Open(ctx context.Context, path string) (transfer.Object, error) {
	if why := transfer.BadPath(path); why != "" {
		return nil, fmt.Errorf("%w: %q %s", transfer.ErrBadPlace, transfer.Clip(path), why)
	}
	o := &object{source: s, path: path, within: ctx}
	if err := o.get(nil); err != nil {
		return nil, err
	}
	if err := o.accept(o.response); err != nil {
		o.stop()
		return nil, fmt.Errorf("read %q at the source: %w", transfer.Clip(path), err)
	}
	if o.known {
		return described{o}, nil
	}
	return o, nil
}

// object is a file that is being downloaded.
type object struct {
	source *Source
	path   string
	within context.Context //nolint:containedctx // of Open: reads have no other

	size    int64
	etag    string // a strong one, or ""
	mode    uint32
	written time.Time
	known   bool // mode and written are

	done     int64
	tries    int            // since the last byte
	response *http.Response // nil: none is open
	guard    *time.Timer    // ends the request when nothing comes
	end      context.CancelCauseFunc
}

// get begins a request; stop ends it.
func (o *object) get(headers map[string]string) (err error) {
	ctx, end := context.WithCancelCause(o.within)
	o.response, err = o.source.call(ctx, http.MethodGet, o.path, headers) //nolint:bodyclose // stop closes it
	if err != nil {
		end(nil)
		return err
	}
	o.end, o.guard = end, time.AfterFunc(o.source.patience, func() { end(errSilent) })
	o.guard.Stop()
	return nil
}

func (o *object) stop() {
	if o.response == nil {
		return
	}
	o.guard.Stop()
	o.end(nil)
	_ = o.response.Body.Close()
	o.response = nil
}

// accept takes the first answer.
func (o *object) accept(response *http.Response) error {
	if err := refusal(response); errors.Is(err, transfer.ErrMissing) {
		return o.source.absent(o.within, response, err)
	} else if err != nil {
		return err
	}
	switch encoding := response.Header.Get("Content-Encoding"); {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("the source answers %s to a request for all of it", response.Status)
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return fmt.Errorf("the source encodes what it sends (%q), which it was asked not to", transfer.Clip(encoding))
	case response.ContentLength < 0:
		return errors.New("the source does not say how long it is (Content-Length)")
	}
	o.size, o.etag = response.ContentLength, strongTag(response)
	if o.etag != "" { // a page to sign in has none
		o.source.sent.Store(true)
	}
	mode, modeErr := strconv.ParseUint(response.Header.Get(ModeHeader), 8, 32)
	written, timeErr := strconv.ParseInt(response.Header.Get(WrittenHeader), 10, 64)
	if o.known = modeErr == nil && timeErr == nil; o.known {
		o.mode, o.written = uint32(mode)&0o777, time.Unix(0, written)
	}
	return nil
}

// strongTag is the ETag that tells whether bytes are the same; "": there is none.
func strongTag(response *http.Response) string {
	tag := response.Header.Get("ETag")
	if len(tag) < 2 || len(tag) > 256 || tag[0] != '"' || tag[len(tag)-1] != '"' {
		return ""
	}
	return tag
}

// Size implements [transfer.Object].
func (o *object) Size() int64 { return o.size }

// Read implements io.Reader. What is interrupted is asked for again from where it was.
func (o *object) Read(p []byte) (int, error) {
	for {
		n, err := o.read(p)
		o.done += int64(n)
		switch {
		case o.done > o.size:
			return n, fmt.Errorf("%w: the source sends more than the %d bytes that it said", transfer.ErrChanged, o.size)
		case n > 0:
			o.tries = 0
			return n, nil
		case o.done == o.size:
			return 0, io.EOF
		case err == nil:
			return 0, nil
		}
		if err := o.resume(err); err != nil {
			return 0, err
		}
	}
}

// read reads from the answer that is open.
func (o *object) read(p []byte) (int, error) {
	if o.response == nil {
		return 0, io.ErrUnexpectedEOF
	}
	o.guard.Reset(o.source.patience)
	n, err := o.response.Body.Read(p)
	o.guard.Stop()
	return n, err
}

// resume asks for the rest of what was interrupted by an error.
func (o *object) resume(cause error) error {
	for {
		o.stop()
		if o.within.Err() != nil {
			return context.Cause(o.within)
		}
		o.tries++
		if o.etag == "" || o.tries > mostTries {
			// Not wrapped: it may be an io.EOF, which would be taken for the file's end.
			return fmt.Errorf("%w: interrupted after %d of %d bytes: %v", transfer.ErrAway, o.done, o.size, cause) //nolint:errorlint // see above
		}
		if pause.For(o.within, o.source.pause<<(o.tries-1)) != nil {
			return context.Cause(o.within)
		}
		again, err := o.goOn()
		if err == nil || !again {
			return err
		}
		cause = err
	}
}

// goOn asks once, and says whether it is worth asking again after an error.
func (o *object) goOn() (again bool, err error) {
	if err := o.get(map[string]string{"Range": fmt.Sprintf("bytes=%d-", o.done), "If-Range": o.etag}); err != nil {
		return true, err
	}
	response := o.response
	switch code := response.StatusCode; {
	case code == http.StatusRequestedRangeNotSatisfiable, code == http.StatusNotFound, code == http.StatusGone:
		return false, fmt.Errorf("%w: the source answers %s to a request for the rest", transfer.ErrChanged, response.Status)
	case code != http.StatusOK && code != http.StatusPartialContent:
		err := refusal(response)
		return errors.Is(err, transfer.ErrAway), err
	case strongTag(response) != o.etag:
		return false, fmt.Errorf("%w: the source has another file by now (ETag %q, and %q before)",
			transfer.ErrChanged, transfer.Clip(response.Header.Get("ETag")), transfer.Clip(o.etag))
	case code == http.StatusOK:
		err := o.skip(response)
		return errors.Is(err, transfer.ErrAway), err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", o.done, o.size-1, o.size)
	if got := response.Header.Get("Content-Range"); got != want {
		return false, fmt.Errorf("%w: the source sends range %q where %q is due", transfer.ErrChanged, transfer.Clip(got), want)
	}
	return false, nil
}

// skip passes what has been read already, of a server that does not know of ranges.
func (o *object) skip(response *http.Response) error {
	if response.ContentLength != o.size {
		return fmt.Errorf("%w: the source says %d bytes now, and said %d", transfer.ErrChanged, response.ContentLength, o.size)
	}
	buffer := make([]byte, 64<<10)
	for left := o.done; left > 0; {
		n, err := o.read(buffer[:min(left, int64(len(buffer)))])
		if left -= int64(n); err != nil && left > 0 {
			return fmt.Errorf("%w: %w", transfer.ErrAway, err)
		}
	}
	return nil
}

// Close implements io.Closer.
func (o *object) Close() error {
	o.stop()
	return nil
}

// Unchanged asks for the ETag again. Without one nobody can tell, and an error's page with
// an answer of 200 would pass for the file.
func (o *object) Unchanged(ctx context.Context) error {
	if o.etag == "" {
		return fmt.Errorf("%w: its events name no SHA-256, and the source no strong ETag by which it could be told that this is the file", transfer.ErrChanged)
	}
	ctx, cancel := context.WithTimeout(ctx, o.source.patience)
	defer cancel()
	response, err := o.source.call(ctx, http.MethodHead, o.path, nil)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	switch err := refusal(response); {
	case errors.Is(err, transfer.ErrMissing):
		return fmt.Errorf("%w: %s vanished while it was read", transfer.ErrChanged, o.path)
	case err != nil:
		return err
	case strongTag(response) != o.etag || response.ContentLength != o.size:
		return fmt.Errorf("%w: %s was replaced while it was read", transfer.ErrChanged, o.path)
	}
	return nil
}

// described is an object of whose file more is known.
type described struct{ *object }

// Described implements [transfer.Described].
func (d described) Described() (mode uint32, written time.Time) { return d.mode, d.written }
