package runner

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

var (
	artifactType    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	artifactFormats = []string{"zip", "gzip", "raw", "zipzstd", "tarzstd"}
)

// uploadArtifact takes in a file that a build leaves: POST /api/v4/jobs/:id/artifacts. It
// is stored as it comes, and there is a row of it when all of it is safe. Whatever goes
// wrong before leaves nothing; the same upload again changes nothing.
func (c *Coordinator) uploadArtifact(w http.ResponseWriter, r *http.Request) {
	j, err := c.authorize(r, jobToken(r, ""))
	switch {
	case err != nil:
	case c.options.Artifacts == nil:
		err = errNoStore
	case j.status != Running && j.status != Canceling:
		err = errForbidden
	default:
		err = c.begin(r.Context(), &j)
	}
	if err == nil {
		err = c.receive(w, r, j)
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	answer(w, http.StatusCreated, struct{}{})
}

// receive stores an upload. First it is written down that bytes come: so they are found
// if this process dies.
func (c *Coordinator) receive(w http.ResponseWriter, r *http.Request, j job) error {
	a, err := describe(r)
	if err != nil {
		return err
	}
	u, err := c.openUpload(w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	a.filename, a.key = u.filename, newArtifactKey(j, a.kind)
	if _, err := c.change(ctx, nil, artifactSQL.Coming, a.key, j.id, j.attempt); database.Code(err) == "22023" {
		// To try again is of no use: the build's log says so.
		return &problem{http.StatusConflict, "artifacts cannot be kept in this database: " + database.Explain(err)}
	} else if err != nil {
		return fmt.Errorf("begin an upload of build %d: %w", j.id, err)
	}
	c.options.Hook("upload begun")
	if err := c.options.Artifacts.Put(ctx, a.key, u); err != nil {
		c.discard(ctx, a.key)
		if u.err == nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "cannot store an artifact", "build", j.id, "key", a.key, "err", err)
		}
		return cmp.Or(u.err, errStore)
	}
	a.size, a.sum = u.size, u.hash.Sum(nil)
	c.options.Hook("upload stored")
	kept, err := c.keep(ctx, j, a)
	var p *problem
	switch {
	case kept:
		c.options.Hook("upload kept")
		return nil
	case err == nil || errors.As(err, &p):
		c.discard(ctx, a.key)
		return err
	default:
		// The row may be there for all that is known: the bytes stay. If it is not, they
		// are removed after the attempt's end.
		return fmt.Errorf("keep an artifact of build %d: %w", j.id, err)
	}
}

// describe is what a call says of the file that comes.
func describe(r *http.Request) (a artifact, err error) {
	query := r.URL.Query()
	a.kind, a.format = query.Get("artifact_type"), query.Get("artifact_format")
	if a.kind == "" {
		a.kind = "archive"
	}
	if a.format == "" {
		a.format = "zip"
	}
	if !artifactType.MatchString(a.kind) {
		return a, &problem{http.StatusBadRequest, "artifact_type is a name of at most 40 letters, digits and _"}
	}
	if !slices.Contains(artifactFormats, a.format) {
		return a, &problem{http.StatusBadRequest, "artifact_format is one of " + strings.Join(artifactFormats, ", ")}
	}
	a.expires, err = expiry(query.Get("expire_in"))
	return a, err
}

// upload reads the one part of a body, to the end of the body, and sums it up.
type upload struct {
	filename string
	size     int64

	most  int64
	parts *multipart.Reader
	part  io.Reader
	hash  hash.Hash
	err   *problem // why it is refused
}

var errStore = &problem{http.StatusServiceUnavailable, "artifacts cannot be stored or read now, try again"}

var errNoFile = &problem{http.StatusBadRequest, "the body is a multipart form with one part named file, which has a filename without a path"}

func (c *Coordinator) openUpload(w http.ResponseWriter, r *http.Request) (*upload, error) {
	// Beside the file there is little.
	r.Body = http.MaxBytesReader(w, r.Body, c.options.MostArtifact+mostBody)
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, errNoFile
	}
	part, err := parts.NextRawPart()
	if err != nil {
		return nil, errNoFile
	}
	// part.FileName leaves out a path without a word.
	_, said, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := said["filename"]
	if err != nil || part.FormName() != "file" || name == "" || len(name) > 255 || name == "." || name == ".." ||
		strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return nil, errNoFile
	}
	return &upload{filename: name, most: c.options.MostArtifact, parts: parts, part: part, hash: sha256.New()}, nil
}

// Read implements io.Reader. It ends only where the body does.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.part.Read(p)
	u.size += int64(n)
	_, _ = u.hash.Write(p[:n]) // it returns no error
	if u.size > u.most {
		u.err = &problem{http.StatusRequestEntityTooLarge, "an artifact has at most " + strconv.FormatInt(u.most, 10) + " bytes"}
		return 0, u.err
	}
	if !errors.Is(err, io.EOF) {
		return n, u.broken(err)
	}
	if _, err := u.parts.NextRawPart(); !errors.Is(err, io.EOF) {
		if err == nil {
			u.err = errNoFile // there are two
			return n, u.err
		}
		return n, u.broken(err)
	}
	return n, io.EOF
}

func (u *upload) broken(err error) error {
	if err != nil {
		u.err = &problem{http.StatusBadRequest, "the artifact did not arrive"}
		return u.err
	}
	return nil
}

// asked is a file that a runner wants, and the attempt that it wants it for.
type asked struct {
	by       job
	key      string
	format   string
	filename string
	sum      []byte
}

var errUnauthorized = &problem{http.StatusUnauthorized, "401 Unauthorized"}

// findArtifact returns what a build has left as its archive, for whoever may have it. The
// primary is asked, as in authorize.
func (c *Coordinator) findArtifact(ctx context.Context, build int64, token string) (a asked, err error) {
	a.by.hash = hashOf(token)
	var exists, may bool
	err = c.primary.QueryRow(ctx, artifactSQL.Asking, build, a.by.hash).Scan(&a.by.id, &a.by.attempt, &a.by.status, &a.by.begun,
		&exists, &may, &a.key, &a.format, &a.filename, &a.sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return a, errUnauthorized
	case err != nil:
		return a, fmt.Errorf("find the artifact of build %d: %w", build, err)
	case !exists:
		return a, errNotFound
	case !may:
		return a, errForbidden
	case a.key == "":
		return a, errNotFound
	}
	return a, nil
}

// downloadArtifact sends the archive of a build: GET /api/v4/jobs/:id/artifacts. The token is that
// build's, or that of a build which needs it, and runs.
func (c *Coordinator) downloadArtifact(w http.ResponseWriter, r *http.Request) {
	content, a, err := c.openArtifact(r)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	defer content.Close()
	w.Header().Set("Content-Type", contentType(a.format))
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": a.filename}))
	w.Header().Set("ETag", `"`+hex.EncodeToString(a.sum)+`"`)
	http.ServeContent(w, r, "", time.Time{}, content)
}

func (c *Coordinator) openArtifact(r *http.Request) (io.ReadSeekCloser, asked, error) {
	build, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, asked{}, errNotFound
	}
	token := jobToken(r, "")
	switch {
	case token == "":
		return nil, asked{}, errUnauthorized
	case c.options.Artifacts == nil:
		return nil, asked{}, errNoStore
	}
	var a asked
	var denied error // of a token that is one
	err = c.guarded(r, token, func() error {
		if a, err = c.findArtifact(r.Context(), build, token); a.by.id != 0 {
			denied, err = err, nil
		}
		return err
	})
	if err == nil {
		err = denied
	}
	if a.by.id != 0 {
		c.contacts.build(a.by.id, a.by.attempt)
		if beginErr := c.begin(r.Context(), &a.by); beginErr != nil {
			err = beginErr
		}
	}
	if err != nil {
		return nil, a, err
	}
	content, err := c.options.Artifacts.Open(r.Context(), a.key)
	if errors.Is(err, fs.ErrNotExist) {
		// It has expired a moment ago; or it was lost.
		c.log.WarnContext(r.Context(), "an artifact has no bytes", "build", build, "key", a.key)
		return nil, a, errNotFound
	}
	if err != nil {
		c.log.WarnContext(r.Context(), "cannot open an artifact", "build", build, "key", a.key, "err", err)
		return nil, a, errStore
	}
	return content, a, nil
}

func contentType(format string) string {
	switch format {
	case "zip", "zipzstd":
		return "application/zip"
	case "gzip":
		return "application/gzip"
	default:
		return "application/octet-stream"
	}
}
