package runnerclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"casq/internal/pause"
)

// Job is an attempt at a build. Its methods are for one goroutine.
type Job struct {
	ID           int64        `json:"id"`
	Token        string       `json:"token"`
	Dependencies []Dependency `json:"dependencies"`
	// Status is what the build is, as the last answer says.
	Status string `json:"-"`
	// Again says that a call was made more than once, and may have been taken in the first
	// time. It stays.
	Again bool `json:"-"`

	process *Process
	log     []byte
	sent    int // bytes of the log that the coordinator has
}

// Dependency is a build whose archive this one gets.
type Dependency struct {
	ID    int64  `json:"id"`
	Token string `json:"token"`
	Name  string `json:"name"`
}

// Begin says that the build runs; so does it as a sign of life.
//
// Errors, here and below: [ErrRefused], [ErrUnavailable], and of all but Begin and Finish
// [ErrNoBuild].
func (j *Job) Begin(ctx context.Context) error {
	_, err := j.put(ctx, "running", "")
	return err
}

// Write adds to the log. It implements [io.Writer].
func (j *Job) Write(text []byte) (int, error) {
	j.log = append(j.log, text...)
	return len(text), nil
}

// Log is all that was written.
func (j *Job) Log() []byte { return j.log }

// Send brings what the coordinator does not have of the log, from where it says that its
// own ends.
func (j *Job) Send(ctx context.Context) error {
	refused := 0
	for j.sent < len(j.log) && refused < finishTries {
		piece := j.log[j.sent:min(len(j.log), j.sent+cmp.Or(j.process.Piece, 1<<20))]
		a, err := j.do(ctx, call{
			method: http.MethodPatch, path: fmt.Sprintf("/jobs/%d/trace", j.ID), contentType: "text/plain", body: fixed(piece),
			header: map[string]string{"Content-Range": fmt.Sprintf("%d-%d", j.sent, j.sent+len(piece)-1)},
		})
		if err != nil {
			return err
		}
		switch a.status {
		case http.StatusAccepted:
			refused = 0
		case http.StatusRequestedRangeNotSatisfiable:
			refused++
		default:
			return fmt.Errorf("send the log of build %d: %d %s", j.ID, a.status, a.body)
		}
		length, err := strconv.Atoi(strings.TrimPrefix(a.header.Get("Range"), "0-"))
		if err != nil {
			return fmt.Errorf("send the log of build %d: where does it end? %w", j.ID, err)
		}
		j.sent = min(length, len(j.log))
	}
	return nil
}

// Upload brings a file that the build leaves. content is asked for it with each try.
func (j *Job) Upload(ctx context.Context, filename, expireIn string, content func() io.Reader) error {
	query := url.Values{"artifact_type": {"archive"}, "artifact_format": {"zip"}, "expire_in": {expireIn}}
	boundary := multipart.NewWriter(nil).Boundary()
	a, err := j.do(ctx, call{
		method: http.MethodPost, path: fmt.Sprintf("/jobs/%d/artifacts?%s", j.ID, query.Encode()),
		contentType: "multipart/form-data; boundary=" + boundary,
		body: func() (io.Reader, error) {
			from, to := io.Pipe()
			go func() { _ = to.CloseWithError(writeForm(to, boundary, filename, content())) }() // it returns nil
			return from, nil
		},
	})
	if err == nil && a.status != http.StatusCreated {
		err = fmt.Errorf("upload %s of build %d: %d %s", filename, j.ID, a.status, a.body)
	}
	return err
}

func writeForm(to io.Writer, boundary, filename string, content io.Reader) error {
	form := multipart.NewWriter(to)
	if err := form.SetBoundary(boundary); err != nil {
		return err
	}
	part, err := form.CreateFormFile("file", filename)
	if err == nil {
		_, err = io.Copy(part, content)
	}
	if err == nil {
		err = form.Close()
	}
	return err
}

// Download returns the archive of a build that this one needs.
func (j *Job) Download(ctx context.Context, d Dependency) ([]byte, error) {
	a, err := j.process.try(ctx, call{
		method: http.MethodGet, path: fmt.Sprintf("/jobs/%d/artifacts", d.ID), header: map[string]string{"Job-Token": d.Token},
	})
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("download what build %d left: %d %s", d.ID, a.status, a.body)
	}
	return a.body, err
}

const (
	// finishTries is how often the end of a build is told.
	finishTries = 10
	// resendPause lies between two of them that the coordinator was not ready for.
	resendPause = time.Second
)

// Finish tells the end of the build, success or failed, and what its log has come to. The
// log is sent again where the coordinator has another one.
func (j *Job) Finish(ctx context.Context, state, reason string) error {
	for range finishTries {
		if err := j.Send(ctx); err != nil && !errors.Is(err, ErrNoBuild) {
			return err
		}
		a, err := j.put(ctx, state, reason)
		switch {
		case err != nil:
			return err
		case a.status == http.StatusOK:
			return nil
		case a.status == http.StatusPreconditionFailed:
			j.sent = 0
		case a.status == http.StatusAccepted:
			if err := pause.For(ctx, min(resendPause, cmp.Or(j.process.MostPause, resendPause))); err != nil {
				return err
			}
		default:
			return fmt.Errorf("end build %d: %d %s", j.ID, a.status, a.body)
		}
	}
	return fmt.Errorf("end build %d: %w", j.ID, ErrUnavailable)
}

func (j *Job) put(ctx context.Context, state, reason string) (answer, error) {
	said := map[string]any{"token": j.Token, "state": state}
	if state != "running" {
		sum := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE(j.log))
		said["checksum"], said["output"] = sum, map[string]any{"checksum": sum, "bytesize": len(j.log)}
	}
	if reason != "" {
		said["failure_reason"] = reason
	}
	body, err := json.Marshal(said)
	if err != nil {
		return answer{}, err
	}
	a, err := j.do(ctx, call{method: http.MethodPut, path: fmt.Sprintf("/jobs/%d", j.ID), contentType: "application/json", body: fixed(body)})
	if errors.Is(err, ErrNoBuild) {
		err = ErrRefused
	}
	return a, err
}

// do is a call of the attempt: with its token, and with what the build is in its answer.
func (j *Job) do(ctx context.Context, c call) (answer, error) {
	if c.header == nil {
		c.header = make(map[string]string)
	}
	c.header["Job-Token"] = j.Token
	a, err := j.process.try(ctx, c)
	j.Again = j.Again || a.again
	if status := a.header.Get("Job-Status"); err == nil && status != "" {
		j.Status = status
	}
	switch {
	case err == nil && a.status == http.StatusForbidden:
		err = ErrRefused
	case err == nil && a.status == http.StatusNotFound:
		err = ErrNoBuild
	}
	return a, err
}
