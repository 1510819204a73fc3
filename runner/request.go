package runner

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// lastUpdate is the header that a runner keeps of any answer, and sends with its next
// request. So only a 204 has a new one, and only after a poll that found nothing.
const lastUpdate = "X-GitLab-Last-Update"

// mostLastUpdate is more than an update has.
const mostLastUpdate = 64

// requestBody is what a runner says when it asks for a build.
type requestBody struct {
	Token      string          `json:"token"`
	SystemID   string          `json:"system_id"`
	LastUpdate string          `json:"last_update"`
	Info       json.RawMessage `json:"info"`
}

// requestJob hands out a build: POST /api/v4/jobs/request.
func (c *Coordinator) requestJob(w http.ResponseWriter, r *http.Request) {
	var body requestBody
	if err := read(w, r, &body); err != nil {
		c.fail(w, r, err)
		return
	}
	token := runnerToken(r, body.Token)
	i, err := c.admit(r, token, c.identify)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	if len(body.SystemID) > 64 || strings.ContainsFunc(body.SystemID, unicode.IsControl) {
		c.fail(w, r, &problem{http.StatusBadRequest, "system_id is longer than 64 bytes, or has control characters"})
		return
	}
	if err := c.wait(w, r, i, token, body); err != nil {
		c.fail(w, r, err)
	}
}

// wait answers a request with a build, or after the time that it may be held with 204.
func (c *Coordinator) wait(w http.ResponseWriter, r *http.Request, i identity, token string, body requestBody) error {
	features, info := parseInfo(body.Info)
	c.contacts.manager(i.id, body.SystemID, info)
	long, end := c.siblings.begin(body.SystemID, i.id)
	defer end()
	hold := c.options.Hold
	if !long {
		hold = c.options.SiblingHold
	}
	if len(body.LastUpdate) > mostLastUpdate {
		body.LastUpdate = "" // none of ours: it is not told it again
	}
	v := &visit{
		Coordinator: c, ctx: r.Context(), token: token, told: body.LastUpdate,
		request: request{runner: i, system: body.SystemID, features: features},
		until:   time.Now().Add(hold),
	}
	found, err := v.stay()
	switch {
	case err != nil:
		return err
	case found == nil:
		if v.told != "" {
			w.Header().Set(lastUpdate, v.told)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if r.Context().Err() != nil {
		c.giveBack(r.Context(), found.assignment)
		return nil
	}
	c.handOver(w, r, found)
	return nil
}

// handOver writes a build to its runner, and gives back one that cannot be written: what the
// runner has then is no JSON. Should it have all of it nevertheless, either its first sign
// of life comes before, and the build is not given back; or it is answered with 403, and the
// runner drops the build.
//
// What was written may be lost as well: then there is no sign of life, and it is handed out
// again.
func (c *Coordinator) handOver(w http.ResponseWriter, r *http.Request, f *found) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(f.body)))
	w.WriteHeader(http.StatusCreated)
	_, err := w.Write(f.body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		c.log.WarnContext(r.Context(), "a build did not reach its runner, it is given back", "build", f.id, "attempt", f.attempt, "err", err)
		c.giveBack(r.Context(), f.assignment)
		return
	}
	c.options.HandedOut(time.Duration(f.queuedFor * float64(time.Second)))
	c.log.InfoContext(r.Context(), "build handed out", "build", f.id, "attempt", f.attempt, "runner", f.runner)
}

// Runners have some thirty features. Each build keeps those of its runner.
const (
	mostFeatures    = 100
	mostFeatureName = 64
)

// parseInfo returns what a runner understands, and what it says of itself.
func parseInfo(text json.RawMessage) (features, info json.RawMessage) {
	features, info = json.RawMessage("{}"), json.RawMessage("{}")
	var said struct {
		Features map[string]any `json:"features"`
		Name     string         `json:"name"`
		Version  string         `json:"version"`
		Revision string         `json:"revision"`
		Platform string         `json:"platform"`
		Arch     string         `json:"architecture"`
		Executor string         `json:"executor"`
		Shell    string         `json:"shell"`
	}
	if json.Unmarshal(text, &said) != nil {
		return features, info
	}
	understands := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(said.Features)) {
		if yes, ok := said.Features[name].(bool); ok && len(name) <= mostFeatureName && len(understands) < mostFeatures {
			understands[storable(name)] = yes
		}
	}
	return marshal(understands), marshal(map[string]string{
		"name": storable(said.Name), "version": storable(said.Version), "revision": storable(said.Revision),
		"platform": storable(said.Platform), "architecture": storable(said.Arch),
		"executor": storable(said.Executor), "shell": storable(said.Shell),
	})
}

// marshal is for what always can be.
func marshal[V bool | string](m map[string]V) json.RawMessage {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

// storable is what Postgres takes of a text, at most 255 bytes.
func storable(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), 255)], "\x00", ""), "")
}

// visit is one request for a build.
type visit struct {
	*Coordinator
	ctx     context.Context
	request request
	token   string
	told    string // the last update that the runner has heard, or may be told
	full    bool   // the last pick said that the runner may have none now
	until   time.Time
}

// found is a build, as the runner gets it.
type found struct {
	assignment
	runner int64
	body   []byte
}

// stay looks for a build, and waits for one.
//
// It enters the room before it polls. What comes later wakes it, and what came before is
// there for the poll.
func (v *visit) stay() (*found, error) {
	v.options.Hook("known")
	waiter := v.room.enter(v.request.runner.id, v.request.runner.class, v.options.MostWaiting, v.options.MostOfRunner)
	if waiter == nil {
		return v.poll()
	}
	defer func() {
		if unused, woken := waiter.leave(); woken {
			v.handOn(unused)
		}
	}()
	v.options.Hook("entered")
	// Who it is was asked before it entered: a change of the runner since then woke nobody.
	if i, err := v.identify(v.ctx, v.token); err != nil || i.class.key() != waiter.class.key() {
		return nil, err // it asks anew
	}
	if f, err := v.poll(); f != nil || err != nil {
		return f, err
	}
	v.options.Hook("waiting")
	timer := time.NewTimer(time.Until(v.until))
	defer timer.Stop()
	for {
		select {
		case h := <-waiter.wake:
			f, err := v.woken(h)
			if f != nil || err != nil {
				return f, err
			}
			if v.request.runner.class.key() != waiter.class.key() {
				return nil, nil // it takes something else by now: it asks anew
			}
			waiter.sleep(v.full)
		case <-timer.C:
			return nil, nil
		case <-v.stopping:
			return nil, nil
		case <-v.ctx.Done():
			return nil, context.Cause(v.ctx)
		}
	}
}

// poll asks for a build when the request comes.
func (v *visit) poll() (*found, error) {
	select {
	case <-v.stopping:
		return nil, nil
	default:
	}
	newest, count := v.news.read()
	if !v.options.NoShortcut && newest != (update{}) {
		if v.told == newest.String() {
			return nil, nil
		}
		if at, there := v.news.noted(v.request.runner.class); there {
			v.told = at.String()
			return nil, nil
		}
	}
	if !v.options.ReadPrimary && v.standby.empty(v.ctx, v.request.runner.class, newest) {
		v.tell(newest, count)
		return nil, nil
	}
	f, o, err := v.take()
	if o == none && err == nil {
		v.tell(newest, count)
	}
	if o == locked {
		v.room.contend()
	}
	return f, err
}

// tell lets the runner be told the tick that was newest before a poll which found
// nothing.
func (v *visit) tell(newest update, count int64) {
	if newest == (update{}) {
		return
	}
	v.told = newest.String()
	v.news.note(v.request.runner.class, newest, count)
}

func (v *visit) take() (*found, outcome, error) {
	body, a, o, err := v.Coordinator.take(v.ctx, v.request)
	v.full = o == busy
	if err != nil {
		return nil, o, err
	}
	switch o {
	case taken:
		return &found{a, v.request.runner.id, body}, o, nil
	case refused:
		v.runners.forget(v.request.runner.id)
		return nil, o, errRefused
	default:
		return nil, o, nil
	}
}

// woken tries to take what the request was woken for.
func (v *visit) woken(h hint) (*found, error) {
	v.options.Hook("woken")
	select {
	case <-v.stopping:
		return nil, nil // other processes have heard of it as this one has
	default:
	}
	if h == (hint{}) { // the runner itself may have changed
		i, err := v.identify(v.ctx, v.token)
		if err != nil {
			return nil, err
		}
		v.request.runner = i
	}
	f, o, err := v.take()
	switch {
	case err != nil && !errors.Is(err, errRefused):
		v.room.contend() // others would fail as well: all lanes are asked for in a moment
		return nil, err
	case o == taken && h.more:
		v.handOn(h)
	case o == busy, o == refused:
		v.handOn(h)
	case o == locked:
		v.room.contend()
	}
	return f, err
}

// handOn wakes another for what this request does not use.
func (v *visit) handOn(h hint) {
	if h == (hint{}) {
		return
	}
	v.room.wakeFor(h, v.tags.get(h.lane.tagSet))
}
