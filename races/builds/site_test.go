package builds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"casq/runner"
	"casq/runner/filestore"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// site is a database with a coordinator and a folder for what builds leave.
type site struct {
	*process
	pool   *pgxpool.Pool
	store  *filestore.Folder
	folder string
}

func newSite(t *testing.T, pool *pgxpool.Pool, options runner.Options) *site {
	t.Helper()
	s := &site{pool: pool, folder: t.TempDir()}
	var err error
	s.store, err = filestore.OpenFolder(s.folder)
	must(t, err)
	t.Cleanup(func() { must(t, s.store.Close()) })
	s.process = s.start(t, options)
	return s
}

// process is one that runners call.
type process struct {
	url         string
	client      *http.Client
	coordinator *runner.Coordinator
}

func (s *site) start(t *testing.T, options runner.Options) *process {
	t.Helper()
	options.Artifacts, options.Hold, options.Logger = s.store, time.Second, slog.New(slog.DiscardHandler)
	c := runner.New(s.pool, options)
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return &process{server.URL, server.Client(), c}
}

// queue queues builds one after the other, each of which needs the one before it.
func (s *site) queue(t *testing.T, names ...string) {
	t.Helper()
	var p runner.Pipeline
	p.Project = 7
	for i, name := range names {
		b := runner.Build{Name: name, Job: json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)}
		if i > 0 {
			b.Needs = names[i-1 : i]
		}
		p.Builds = append(p.Builds, b)
	}
	must(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, _, err := runner.Enqueue(t.Context(), tx, p)
		return err
	}))
}

// build is what a runner has.
type build struct {
	ID           int64
	Token        string
	Dependencies []build
}

func (b build) path(rest string) string { return fmt.Sprintf("/api/v4/jobs/%d%s", b.ID, rest) }

// pick has a new runner ask for a build.
func (s *site) pick(t *testing.T) (b build) {
	t.Helper()
	var token string
	must(t, s.pool.QueryRow(t.Context(), "SELECT token FROM casq.create_runner('test')").Scan(&token))
	a := s.json(t, http.MethodPost, "/api/v4/jobs/request", map[string]any{"token": token})
	if a.status != http.StatusCreated {
		t.Fatalf("no build: %d %s", a.status, a.body)
	}
	must(t, json.Unmarshal([]byte(a.body), &b))
	return b
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call makes a call. One that is not answered has status 0.
func (p *process) call(t *testing.T, method, path, token string, header map[string]string, body io.Reader) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, body)
	must(t, err)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	if token != "" {
		request.Header.Set("Job-Token", token)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return answer{}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{response.StatusCode, response.Header, string(text)}
}

func (p *process) json(t *testing.T, method, path string, body any) answer {
	t.Helper()
	text, err := json.Marshal(body)
	must(t, err)
	return p.call(t, method, path, "", map[string]string{"Content-Type": "application/json"}, bytes.NewReader(text))
}

func (p *process) put(t *testing.T, b build, state string) answer {
	t.Helper()
	return p.json(t, http.MethodPut, b.path(""), map[string]any{"token": b.Token, "state": state})
}

func (p *process) patch(t *testing.T, b build, start int, text string) answer {
	t.Helper()
	return p.call(t, http.MethodPatch, b.path("/trace"), b.Token,
		map[string]string{"Content-Type": "text/plain", "Content-Range": fmt.Sprintf("%d-%d", start, start+len(text)-1)},
		bytes.NewReader([]byte(text)))
}

func (p *process) upload(t *testing.T, b build, content string) answer {
	t.Helper()
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("file", "art.zip")
	must(t, err)
	_, err = io.WriteString(part, content)
	must(t, err)
	must(t, writer.Close())
	return p.call(t, http.MethodPost, b.path("/artifacts"), b.Token, map[string]string{"Content-Type": writer.FormDataContentType()}, &form)
}

func wantStatus(t *testing.T, what string, a answer, want int) {
	t.Helper()
	if a.status != want {
		t.Errorf("%s: %d %s, want %d", what, a.status, a.body, want)
	}
}

func (s *site) log(t *testing.T, b build) string {
	t.Helper()
	var text bytes.Buffer
	must(t, runner.Trace(t.Context(), s.pool, b.ID, 0, 0, false, &text))
	return text.String()
}
