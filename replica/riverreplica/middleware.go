package riverreplica

import (
	"context"
	"encoding/json"

	"casq/replica"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Middleware gives jobs their sessions, and insertions what their session has met.
// It belongs into [river.Config.Middleware].
type Middleware struct {
	river.MiddlewareDefaults

	// DB is required.
	DB *replica.DB
	// Objects names what a job deals with. Nil is nothing. Workers add to it:
	// [replica.Session.Watch].
	Objects func(*rivertype.JobRow) []replica.Object
}

var (
	_ rivertype.JobInsertMiddleware = (*Middleware)(nil)
	_ rivertype.WorkerMiddleware    = (*Middleware)(nil)
)

// key is the one of the job's metadata.
const key = "casq_replica"

// note is what the metadata say.
type note struct {
	// Token is what the inserting session had met.
	Token string `json:"token,omitempty"`
	// At is the primary's position at the fetch of a job that was put off, and Attempt
	// the attempt that this was to be.
	At      string `json:"at,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
}

// InsertMany has the jobs carry what the session of ctx has met.
func (m *Middleware) InsertMany(ctx context.Context, params []*rivertype.JobInsertParams, insert func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	if session := replica.FromContext(ctx); session != nil {
		if token := session.Token(ctx); token != "" {
			for _, job := range params {
				job.Metadata = withToken(job.Metadata, token)
			}
		}
	}
	return insert(ctx)
}

// withToken leaves metadata that are no JSON object as they are, for River to
// refuse.
func withToken(metadata []byte, token string) []byte {
	fields := make(map[string]json.RawMessage)
	if len(metadata) > 0 && json.Unmarshal(metadata, &fields) != nil || fields == nil {
		return metadata
	}
	value, err := json.Marshal(note{Token: token})
	if err != nil {
		return metadata
	}
	fields[key] = value
	changed, err := json.Marshal(fields)
	if err != nil {
		return metadata
	}
	return changed
}

func noteOf(job *rivertype.JobRow) note {
	var metadata struct {
		Note note `json:"casq_replica"`
	}
	if err := json.Unmarshal(job.Metadata, &metadata); err != nil {
		return note{} // The position of the fetch is enough.
	}
	return metadata.Note
}

// Work gives the job a session that expects everything that was committed before the
// job was fetched.
func (m *Middleware) Work(ctx context.Context, job *rivertype.JobRow, inner func(context.Context) error) error {
	session, said := m.DB.Session(), noteOf(job)
	if m.Objects != nil {
		session.Watch(m.Objects(job)...)
	}
	session.Carry(said.Token)
	if err := m.expect(ctx, job, session, said); err != nil {
		return err
	}
	return inner(replica.NewContext(ctx, session))
}

// expect does what the worker has declared. The error is that of a snooze, too.
func (m *Middleware) expect(ctx context.Context, job *rivertype.JobRow, session *replica.Session, said note) error {
	putOff := said.At != "" && said.Attempt == job.Attempt
	if putOff {
		// It is forgotten with whatever ends this run. If the run dies, the next one has
		// another attempt.
		if err := river.MetadataSet(ctx, key, note{Token: said.Token}); err != nil {
			return err
		}
	}
	declaration := ctx.Value(declarationKey{})
	if _, always := declaration.(Always); always || len(m.DB.Hosts()) == 0 {
		session.Pin()
		return nil
	}
	at := said.At
	if !putOff {
		present, err := m.DB.Present(ctx)
		if err != nil {
			session.Pin() // Its reads fail, too, or the primary is back by then.
			return ctx.Err()
		}
		at = present.Token()
	}
	session.Carry(at)
	delayed, ok := declaration.(Delayed)
	if !ok || session.Await(ctx, delayed.Wait) || putOff {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := river.MetadataSet(ctx, key, note{Token: said.Token, At: at, Attempt: job.Attempt}); err != nil {
		return err
	}
	return river.JobSnooze(delayed.Snooze)
}
