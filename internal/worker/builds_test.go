package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/expect"
	"casq/internal/testing/long"
	"casq/runner"
	"casq/runner/filestore"

	"github.com/jackc/pgx/v5"
)

// What a build leaves is copied, counted for its project, and removed when it has
// expired, at this site and at one that follows, without a word of configuration.
func TestABuildsArtifactIsLikeOtherFiles(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, "SELECT casq.untrack(kind => 'artifact')") // it has the whole target
	b.exec(t, "SELECT casq.drop_kind('artifact')")
	home, _ := b.second(t, b.url)
	second := home.Pool(t)
	store, err := filestore.OpenFolder(b.source)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	c := runner.New(b.pool, runner.Options{Artifacts: store, Hold: time.Millisecond})
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	id, token := b.handOut(t, server)
	uploadArtifact(t, server, fmt.Sprintf("/api/v4/jobs/%d/artifacts?expire_in=never", id), token, "bytes of a build")

	var key string
	must(t, b.pool.QueryRow(t.Context(), "SELECT key FROM casq.artifacts").Scan(&key))
	synced := "kind = 'build_artifact' AND synced_version = version AND resource_id = '" + key + "'"
	b.until(t, key, func() bool { return b.count(t, synced) == 1 })
	if text, err := os.ReadFile(filepath.Join(b.target, "build_artifact", key)); err != nil || string(text) != "bytes of a build" {
		t.Errorf("the copy is %q: %v", text, err)
	}
	b.until(t, key, func() bool {
		var n int
		must(t, second.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry WHERE "+synced).Scan(&n))
		return n == 1
	})
	b.until(t, key, func() bool {
		var bytes int64
		err := b.pool.QueryRow(t.Context(), "SELECT size::bigint FROM casq.statistics WHERE kind = 'build_artifact' AND scope_id = '7'").Scan(&bytes)
		return err == nil && bytes == 16
	})

	b.exec(t, "DELETE FROM casq.artifacts")
	b.until(t, key, func() bool {
		_, err := os.Lstat(filepath.Join(b.target, "build_artifact", key))
		return os.IsNotExist(err)
	})
}

var must = expect.NoError

// handOut queues a build, and hands it to a runner.
func (b *testBundle) handOut(t *testing.T, server *httptest.Server) (id int64, token string) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, _, err := runner.Enqueue(t.Context(), tx, runner.Pipeline{Project: 7, Builds: []runner.Build{
			{Name: "build", Job: json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)},
		}})
		return err
	}))
	var runnerToken string
	must(t, b.pool.QueryRow(t.Context(), "SELECT token FROM casq.create_runner('test')").Scan(&runnerToken))
	request, err := json.Marshal(map[string]string{"token": runnerToken})
	must(t, err)
	response := post(t, server, "/api/v4/jobs/request", "", "application/json", bytes.NewReader(request))
	var job struct {
		ID    int64
		Token string
	}
	if err := json.Unmarshal(response, &job); err != nil || job.ID == 0 {
		t.Fatalf("no build was handed out: %s %v", response, err)
	}
	return job.ID, job.Token
}

func uploadArtifact(t *testing.T, server *httptest.Server, path, token, content string) {
	t.Helper()
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("file", "art.zip")
	must(t, err)
	_, err = io.WriteString(part, content)
	must(t, err)
	must(t, writer.Close())
	post(t, server, path, token, writer.FormDataContentType(), &form)
}

// post makes a call that has to create something.
func post(t *testing.T, server *httptest.Server, path, token, contentType string, body io.Reader) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, body)
	must(t, err)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Job-Token", token)
	response, err := server.Client().Do(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %d %s", path, response.StatusCode, text)
	}
	return text
}
