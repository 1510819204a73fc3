package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"casq/eventlog"
	"casq/internal/audit"
	"casq/jobs"
	"casq/registry"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// target is what an action is about: the fields of its form.
type target struct {
	Kind, Key, Reason, Queue string
	Request                  string // the id of one that was asked for before
}

// action is something that can be asked for.
type action struct {
	Title string // what is about to be done
	Does  string // what comes of it
	// line is the action as it stands in casq.audit.
	line func(target) string
	// touches is how many resources it touches, by the kept counts; nil: it is not about
	// resources.
	touches func(ctx context.Context, s *Server, t target) (int64, error)
	do      func(ctx context.Context, s *Server, t target, r audit.Request) error
}

// actions are all that can be asked for here, by their names.
var actions = map[string]action{
	"resync": {
		"Copy all of a kind again", "Each resource gets a new version, and a job that copies or removes it again. It comes after all that events ask for.",
		func(t target) string { return "resync --kind " + quoted(t.Kind) + " --all" },
		ofKind("synced", "absent", "pending", "started", "removing", "failed"),
		func(ctx context.Context, s *Server, t target, r audit.Request) error {
			return s.insertRequest(ctx, jobs.RequestArgs{Request: r, Action: jobs.Resync, OfKind: t.Kind})
		},
	},
	"verify": {
		"Compare all of a kind that is in place", "Each resource that is in place is read and compared by content, and copied again where it differs.",
		func(t target) string { return "verify --kind " + quoted(t.Kind) + " --all" },
		ofKind("synced"),
		func(ctx context.Context, s *Server, t target, r audit.Request) error {
			return s.insertRequest(ctx, jobs.RequestArgs{Request: r, Action: jobs.Verify, OfKind: t.Kind})
		},
	},
	"retry": {
		"Try a group of failures again", "Each resource that has failed for this reason gets a new version, and a job.",
		func(t target) string { return "resync --kind " + quoted(t.Kind) + " --failed, of " + t.Reason },
		func(ctx context.Context, s *Server, t target) (int64, error) {
			return s.touched(ctx, t.Kind, nil, &t.Reason)
		},
		func(ctx context.Context, s *Server, t target, r audit.Request) error {
			return s.insertRequest(ctx, jobs.RequestArgs{Request: r, Action: jobs.Resync, OfKind: t.Kind, FailedOnly: true, Reason: &t.Reason})
		},
	},
	"refresh": {
		"Recount the counters of a kind", "The table of the kind is summed up while its counters go on, and the sums are swapped in. No resource is changed.",
		func(t target) string { return "refresh --kind " + quoted(t.Kind) + " --all" },
		nil,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			return s.cfg.Refresh(ctx, t.Kind)
		},
	},
	"resync-one": {
		"Copy a resource again", "It gets a new version and comes first.",
		func(t target) string { return "resync" + t.one() },
		one,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			_, err := registry.ResyncOne(ctx, s.home, s.queue, t.Kind, t.Key, false)
			return err
		},
	},
	"verify-one": {
		"Compare a resource", "What is in place is read and compared by content, and copied again if it differs.",
		func(t target) string { return "verify" + t.one() },
		one,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			_, err := registry.VerifyOne(ctx, s.home, s.queue, t.Kind, t.Key)
			return err
		},
	},
	"cancel-one": {
		"Cancel the copy of a resource", "Its jobs end, a copy that runs is told to stop, and it counts as failed until it is asked for again.",
		func(t target) string { return "cancel" + t.one() },
		one,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			_, err := registry.Cancel(ctx, s.home, s.queue, t.Kind, t.Key, registry.CancelOptions{})
			return err
		},
	},
	"pause": {
		"Pause a queue", "Workers take no more jobs of it; what runs goes on.",
		func(t target) string { return "queue pause " + quoted(t.Queue) },
		nil,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			return s.queue.Pause(ctx, t.Queue)
		},
	},
	"resume": {
		"Resume a queue", "Workers take jobs of it again.",
		func(t target) string { return "queue resume " + quoted(t.Queue) },
		nil,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error {
			return s.queue.Resume(ctx, t.Queue)
		},
	},
	"stop": {
		"Stop a request", "What it has asked for so far stays asked for; the rest is not asked for any more.",
		func(t target) string { return "stop request " + t.Request },
		nil,
		func(ctx context.Context, s *Server, t target, _ audit.Request) error { return s.stop(ctx, t.Request) },
	},
}

func (t target) one() string { return " --kind " + quoted(t.Kind) + " --key " + quoted(t.Key) }

func one(context.Context, *Server, target) (int64, error) { return 1, nil }

// ofKind is how many resources of a kind have one of some statuses.
func ofKind(statuses ...string) func(context.Context, *Server, target) (int64, error) {
	return func(ctx context.Context, s *Server, t target) (int64, error) {
		return s.touched(ctx, t.Kind, statuses, nil)
	}
}

func (s *Server) touched(ctx context.Context, kind string, statuses []string, reason *string) (n int64, err error) {
	if err := s.home.QueryRow(ctx, sampleSQL.Touched, kind, statuses, reason).Scan(&n); err != nil {
		return 0, fmt.Errorf("ask how many resources it touches: %w", err)
	}
	return n, nil
}

// insertRequest queues the job that carries a request out.
func (s *Server) insertRequest(ctx context.Context, args jobs.RequestArgs) error {
	return pgx.BeginFunc(ctx, s.home, func(tx pgx.Tx) error {
		_, err := s.queue.InsertRequest(ctx, tx, args)
		return err
	})
}

// stop ends the job of a request.
func (s *Server) stop(ctx context.Context, request string) error {
	id, err := uuid.Parse(request)
	if err != nil {
		return refusal{http.StatusBadRequest, "There is no such request."}
	}
	return pgx.BeginFunc(ctx, s.home, func(tx pgx.Tx) error {
		var job int64
		var what string
		err := tx.QueryRow(ctx, sampleSQL.RequestJob, id).Scan(&job, &what)
		if errors.Is(err, pgx.ErrNoRows) {
			return refusal{http.StatusNotFound, "There is no such request."}
		}
		if err != nil {
			return fmt.Errorf("look the request up: %w", err)
		}
		return s.queue.CancelJob(ctx, tx, job)
	})
}

// asked is what the page before an action shows.
type asked struct {
	page
	ID         uuid.UUID // under which it is recorded
	Name, Line string
	What       action
	target
	Counted bool
	Touches int64
}

// Many tells whether it takes a moment, and a job.
func (a asked) Many() bool { return a.Counted && a.Key == "" }

// actTimeout is for what an action does in the request itself.
const actTimeout = 10 * time.Second

// question reads what is asked for, and how much it touches.
func (s *Server) question(ctx context.Context, r *http.Request) (a asked, err error) {
	a = asked{page: s.about(r, "Act"), ID: uuid.New(), Name: r.FormValue("action")}
	var known bool
	if a.What, known = actions[a.Name]; !known {
		return a, refusal{http.StatusBadRequest, "There is no such action."}
	}
	a.target = target{r.FormValue("kind"), r.FormValue("key"), r.FormValue("reason"), r.FormValue("queue"), r.FormValue("request")}
	if err := s.checkTarget(ctx, a); err != nil {
		return a, err
	}
	a.Line, a.Title = a.What.line(a.target), a.What.Title
	if a.What.touches != nil {
		a.Counted = true
		a.Touches, err = a.What.touches(ctx, s, a.target)
	}
	return a, err
}

// checkTarget refuses what is not there, or too long to be.
func (s *Server) checkTarget(ctx context.Context, a asked) error {
	for _, value := range []string{a.Kind, a.Key, a.Reason, a.Queue, a.Request} {
		switch {
		case len(value) > mostKey:
			return refusal{http.StatusBadRequest, "That is too long to be a name."}
		case !isText(value):
			return refusal{http.StatusBadRequest, "A name is text."}
		}
	}
	switch a.Name {
	case "pause", "resume":
		return s.checkQueue(ctx, a.Queue)
	case "stop":
	case "resync-one", "verify-one", "cancel-one":
		return checkName(a.Kind, a.Key)
	case "resync", "verify", "retry":
		if err := s.checkKind(ctx, a.Kind); err != nil {
			return err
		}
		return s.checkRequests(ctx)
	default:
		return s.checkKind(ctx, a.Kind)
	}
	return nil
}

// checkQueue refuses a queue that no worker serves, has served lately, or will serve.
func (s *Server) checkQueue(ctx context.Context, queue string) error {
	known, err := s.queue.Known(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(known, queue) {
		return refusal{http.StatusNotFound, "There is no such queue."}
	}
	return nil
}

// checkRequests refuses requests where no worker carries them out, or has lately. Of one that did,
// and does not any more, casq.health tells.
func (s *Server) checkRequests(ctx context.Context) error {
	var served bool
	if err := s.home.QueryRow(ctx, sampleSQL.QueueServed, jobs.RequestQueue).Scan(&served); err != nil {
		return fmt.Errorf("look the queue up: %w", err)
	}
	if !served {
		return refusal{http.StatusConflict, "No worker here carries such requests out: it takes one that copies resources."}
	}
	return nil
}

// checkKind refuses a kind that nobody knows.
func (s *Server) checkKind(ctx context.Context, kind string) error {
	if err := checkName(kind, "of a kind"); err != nil {
		return err
	}
	kinds, err := eventlog.Kinds(ctx, s.home)
	if err != nil {
		return err
	}
	if _, known := kinds[kind]; !known {
		return refusal{http.StatusNotFound, "There is no such kind."}
	}
	return nil
}

// confirm says what an action would touch.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), actTimeout)
	defer cancel()
	a, err := s.question(ctx, r)
	if err != nil {
		return err
	}
	return s.render(w, http.StatusOK, "confirm", a)
}

// act does what is asked for, on behalf of who asks.
func (s *Server) act(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), actTimeout)
	defer cancel()
	a, err := s.question(ctx, r)
	if err != nil {
		return err
	}
	a.asTold(r)
	request := newRequest(r, a.Line)
	request.ID = a.ID
	if a.Counted {
		request.Touches = &a.Touches
	}
	err = s.once(ctx, request.ID, func() error { return a.What.do(audit.With(ctx, request), s, a.target, request) })
	switch {
	case errors.Is(err, registry.ErrNoRow), errors.Is(err, registry.ErrNotInPlace), errors.Is(err, jobs.ErrUnknownQueue):
		return refusal{http.StatusConflict, err.Error()}
	case err != nil:
		return err
	}
	s.cfg.Logger.InfoContext(ctx, "asked for by an operator", "actor", request.Actor, "origin", request.Origin, "action", request.Action, "request", request.ID)
	next := "/?asked=" + request.ID.String() + "#requests"
	if a.Key != "" {
		next = "/resource?kind=" + url.QueryEscape(a.Kind) + "&key=" + url.QueryEscape(a.Key)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

// asTold takes what the page before has told from its form: under which id the action is
// recorded, and what it touches. Whoever calls without that page has neither.
func (a *asked) asTold(r *http.Request) {
	if id, err := uuid.Parse(r.PostFormValue("id")); err == nil {
		a.ID = id
	}
	if n, err := strconv.ParseInt(r.PostFormValue("touches"), 10, 64); err == nil && n >= 0 {
		a.Touches = n
	}
}

// once does nothing where an action is recorded already: its form was sent again, by a second
// click, a reload, or a proxy. Of several at the same time one has its job queued; what has no
// job may be done twice then, which comes to the same.
func (s *Server) once(ctx context.Context, id uuid.UUID, do func() error) error {
	var recorded bool
	if err := s.home.QueryRow(ctx, sampleSQL.Recorded, id).Scan(&recorded); err != nil {
		return fmt.Errorf("look the request up: %w", err)
	}
	if recorded {
		return nil
	}
	if err := do(); !errors.Is(err, jobs.ErrAsked) {
		return err
	}
	return nil
}

// newRequest is what stands in casq.audit of an HTTP request.
func newRequest(r *http.Request, action string) audit.Request {
	origin, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		origin = r.RemoteAddr
	}
	return audit.Request{ID: uuid.New(), Actor: caller(r), Via: "page", Origin: origin, Action: action}
}
