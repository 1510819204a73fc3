package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// updateBody is what a runner says of a build that it has.
type updateBody struct {
	Token         string `json:"token"`
	State         string `json:"state"`
	FailureReason string `json:"failure_reason"`
	ExitCode      *int32 `json:"exit_code"`
	Checksum      string `json:"checksum"`
	Output        struct {
		Checksum string `json:"checksum"`
		ByteSize int64  `json:"bytesize"`
	} `json:"output"`
}

// updateJob takes in that a build runs, or how it has ended: PUT /api/v4/jobs/:id. It may
// be said again; what comes back is what the build is.
func (c *Coordinator) updateJob(w http.ResponseWriter, r *http.Request) {
	var body updateBody
	if err := read(w, r, &body); err != nil {
		c.fail(w, r, err)
		return
	}
	j, err := c.authorize(r, jobToken(r, body.Token))
	if err != nil {
		c.fail(w, r, err)
		return
	}
	switch body.State {
	case "running", "":
		err = c.begin(r.Context(), &j)
	case "success", "failed":
		if err = c.checkTrace(r.Context(), j, body); err == nil {
			err = c.finish(r.Context(), &j, body)
		}
	default:
		err = &problem{http.StatusBadRequest, "state is running, success or failed, not " + strconv.Quote(body.State)}
	}
	if err == nil || errors.Is(err, errResend) {
		c.tell(w, j)
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

// tell has the runner know what its build is, and when to report next.
func (c *Coordinator) tell(w http.ResponseWriter, j job) {
	w.Header().Set("Job-Status", string(j.status))
	w.Header().Set("X-GitLab-Trace-Update-Interval", strconv.Itoa(max(1, int(c.options.TraceInterval/time.Second))))
}

// finish ends an attempt, unless it has ended.
func (c *Coordinator) finish(ctx context.Context, j *job, body updateBody) error {
	var reason *string
	if body.State == "failed" {
		text := safe(body.FailureReason)
		if text == "" {
			text = "script_failure"
		}
		reason = &text
	}
	c.options.Hook("finishing")
	var status *string
	if _, err := c.change(ctx, []any{&status}, buildSQL.Finish, j.id, j.hash, body.State, reason, body.ExitCode); err != nil {
		return fmt.Errorf("end build %d: %w", j.id, err)
	}
	if status == nil {
		return errForbidden // it was given to another meanwhile
	}
	j.status = Status(*status)
	return nil
}

// ofToken returns the attempt at a build that a token stands for: errNotFound when there is
// no such build, errForbidden when the token is another's, or an earlier attempt's.
func (c *Coordinator) ofToken(ctx context.Context, id int64, token string) (job, error) {
	j := job{hash: hashOf(token)}
	var status string
	err := c.primary.QueryRow(ctx, buildSQL.OfToken, j.hash, id).Scan(&j.id, &j.attempt, &j.project, &status, &j.begun)
	if err == nil {
		j.status = Status(status)
		return j, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return j, fmt.Errorf("find build %d by its token: %w", id, err)
	}
	var exists bool
	if err := c.primary.QueryRow(ctx, buildSQL.Exists, id).Scan(&exists); err != nil {
		return j, fmt.Errorf("find build %d: %w", id, err)
	}
	if !exists {
		return j, errNotFound
	}
	return j, errForbidden
}

// safe is what a reason may be made of: it is shown to people.
func safe(reason string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return -1
	}, reason[:min(len(reason), 64)])
}
