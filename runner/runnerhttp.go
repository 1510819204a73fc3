package runner

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"time"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed runner.sql
var runnerText string

// runnerSQL has the statements of runner.sql.
var runnerSQL = queries.Parse[struct{ ResetToken, ForgetManager, DeleteRunner string }]("runner/runner", runnerText)

// runnerBody is what a runner says of itself.
type runnerBody struct {
	Token    string `json:"token"`
	SystemID string `json:"system_id"`
}

// runnerAnswer is what a runner is told of itself.
type runnerAnswer struct {
	ID      int64      `json:"id,omitempty"`
	Token   string     `json:"token"`
	Expires *time.Time `json:"token_expires_at"`
}

// runnerRoutes are the calls by which a runner comes and goes.
func (c *Coordinator) runnerRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/v4/runners/verify", c.asRunner(c.verifyRunner))
	mux.HandleFunc("POST /api/v4/runners/reset_authentication_token", c.asRunner(c.resetToken))
	mux.HandleFunc("DELETE /api/v4/runners/managers", c.asRunner(c.forgetManager))
	mux.HandleFunc("DELETE /api/v4/runners", c.asRunner(c.deleteRunner))
	mux.HandleFunc("POST /api/v4/runners", c.refuse(http.StatusGone,
		"runners do not register themselves here: make one with enqueue runner create, and register with the token that it prints"))
	mux.HandleFunc("GET /api/v4/runners/router/discovery", c.refuse(http.StatusNotImplemented, "there is no job router here"))
}

func (c *Coordinator) refuse(status int, why string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { c.fail(w, r, &problem{status, why}) }
}

// asRunner is for calls that are made once in a while: the primary is always asked who
// calls, so that a token which was reset a moment ago is refused.
func (c *Coordinator) asRunner(f func(http.ResponseWriter, *http.Request, identity, runnerBody) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var said runnerBody
		err := read(w, r, &said)
		if err == nil {
			said.Token = runnerToken(r, said.Token)
			var i identity
			if i, err = c.admit(r, said.Token, c.identifyNow); err == nil {
				err = f(w, r, i, said)
			}
		}
		if err != nil {
			c.fail(w, r, err)
		}
	}
}

// verifyRunner tells a runner that its token is one.
func (c *Coordinator) verifyRunner(w http.ResponseWriter, _ *http.Request, i identity, said runnerBody) error {
	answer(w, http.StatusOK, runnerAnswer{i.id, said.Token, i.expires})
	return nil
}

// resetToken hands out another token; the one before is refused from then on.
func (c *Coordinator) resetToken(w http.ResponseWriter, r *http.Request, i identity, _ runnerBody) error {
	var a runnerAnswer
	_, err := c.change(r.Context(), []any{&a.ID, &a.Token, &a.Expires}, runnerSQL.ResetToken, i.hash[:])
	if errors.Is(err, pgx.ErrNoRows) {
		return errRefused
	}
	if err != nil {
		return fmt.Errorf("reset the token of runner %d: %w", i.id, err)
	}
	c.runners.forget(i.id)
	answer(w, http.StatusCreated, runnerAnswer{Token: a.Token, Expires: a.Expires})
	return nil
}

// forgetManager takes leave of one of a runner's processes.
func (c *Coordinator) forgetManager(w http.ResponseWriter, r *http.Request, i identity, said runnerBody) error {
	if _, err := c.change(r.Context(), nil, runnerSQL.ForgetManager, i.id, storable(said.SystemID)); err != nil {
		return fmt.Errorf("forget a process of runner %d: %w", i.id, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteRunner takes leave of a runner with all its processes.
func (c *Coordinator) deleteRunner(w http.ResponseWriter, r *http.Request, i identity, _ runnerBody) error {
	if _, err := c.change(r.Context(), nil, runnerSQL.DeleteRunner, i.id, i.hash[:]); err != nil {
		return fmt.Errorf("delete runner %d: %w", i.id, err)
	}
	c.runners.forget(i.id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
