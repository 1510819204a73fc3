package runner_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"

	"casq/runner"
	"casq/runner/filestore"
)

// artifactBench is one with a folder for artifacts.
type artifactBench struct {
	*bench
	store  *filestore.Folder
	folder string
}

func newArtifactBench(t *testing.T, options runner.Options) artifactBench {
	t.Helper()
	folder := t.TempDir()
	store, err := filestore.OpenFolder(folder)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	options.Artifacts = store
	return artifactBench{newBench(t, options), store, folder}
}

// part is one of a multipart form.
type part struct{ disposition, content string }

func file(content string) []part {
	return []part{{`form-data; name="file"; filename="art.zip"`, content}}
}

func form(t testing.TB, parts []part) (contentType string, body []byte) {
	t.Helper()
	var text bytes.Buffer
	writer := multipart.NewWriter(&text)
	for _, p := range parts {
		w, err := writer.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {p.disposition}, "Content-Type": {"application/octet-stream"},
		})
		must(t, err)
		_, err = io.WriteString(w, p.content)
		must(t, err)
	}
	must(t, writer.Close())
	return writer.FormDataContentType(), text.Bytes()
}

// upload sends a form, in chunks, as a runner does.
func (b *bench) upload(id int64, token, query string, parts []part) int {
	b.t.Helper()
	contentType, body := form(b.t, parts)
	return b.send(id, token, query, contentType, io.MultiReader(bytes.NewReader(body)))
}

func (b *bench) send(id int64, token, query, contentType string, body io.Reader) int {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, fmt.Sprintf("%s/api/v4/jobs/%d/artifacts?%s", b.url, id, query), body)
	must(b.t, err)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Job-Token", token)
	response, err := b.client.Do(request)
	must(b.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(b.t, err)
	if !json.Valid(text) {
		b.t.Errorf("an upload was answered with %q", text)
	}
	return response.StatusCode
}

// downloaded is what a download was answered with.
type downloaded struct {
	status int
	header http.Header
	text   string
}

func (b *bench) download(id int64, token, bytesRange string) downloaded {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, fmt.Sprintf("%s/api/v4/jobs/%d/artifacts?direct_download=true", b.url, id), http.NoBody)
	must(b.t, err)
	if token != "" {
		request.Header.Set("Job-Token", token)
	}
	if bytesRange != "" {
		request.Header.Set("Range", bytesRange)
	}
	response, err := b.client.Do(request)
	must(b.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(b.t, err)
	return downloaded{response.StatusCode, response.Header, string(text)}
}

// files are the files below the bench's folder.
func (b artifactBench) files() (found []string) {
	b.t.Helper()
	must(b.t, filepath.WalkDir(b.folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// left counts rows, those of bytes without one, and events.
func (b *bench) left() (rows, leftovers, events int) {
	b.t.Helper()
	must(b.t, b.pool.QueryRow(b.t.Context(), `SELECT (SELECT count(*) FROM casq.artifacts),
		(SELECT count(*) FROM casq.artifact_leftovers), (SELECT count(*) FROM casq.events WHERE kind = 'build_artifact')`).
		Scan(&rows, &leftovers, &events))
	return rows, leftovers, events
}

func (b artifactBench) nothing(what string) {
	b.t.Helper()
	if rows, leftovers, events := b.left(); rows+leftovers+events > 0 || len(b.files()) > 0 {
		b.t.Errorf("%s left %d rows, %d leftovers, %d events and files %q", what, rows, leftovers, events, b.files())
	}
}

func TestArtifactIsKeptAndToldOf(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	id, token := b.running()
	if status := b.upload(id, token, "artifact_format=zip&artifact_type=archive&expire_in=1+week", file("bytes")); status != http.StatusCreated {
		t.Fatalf("an upload: %d", status)
	}
	var key, scope, payload, filename string
	var delta, week int64
	must(t, b.pool.QueryRow(t.Context(), `SELECT e.resource_id, e.scope_id, e.size_delta, e.payload::text, a.filename,
			round(extract(epoch FROM a.expires_at - a.created_at))
		FROM casq.events AS e JOIN casq.artifacts AS a ON a.key = e.resource_id
		WHERE e.kind = 'build_artifact' AND e.op = 'created'`).Scan(&key, &scope, &delta, &payload, &filename, &week))
	sum := sha256.Sum256([]byte("bytes"))
	if scope != "7" || delta != 5 || filename != "art.zip" || week != 7*24*3600 || !strings.Contains(payload, hex.EncodeToString(sum[:])) {
		t.Errorf("its event says scope %s, %d bytes, %s; the file is %s and stays for %d s", scope, delta, payload, filename, week)
	}
	if found := b.files(); len(found) != 1 || found[0] != filepath.Join(b.folder, key) {
		t.Errorf("key %s is at %q", key, found)
	}
	// The answer was lost.
	if status := b.upload(id, token, "artifact_format=zip&artifact_type=archive&expire_in=1+week", file("bytes")); status != http.StatusCreated {
		t.Errorf("the same again: %d", status)
	}
	if status := b.upload(id, token, "", file("others")); status != http.StatusBadRequest {
		t.Errorf("another of the same type: %d", status)
	}
	if rows, leftovers, events := b.left(); rows != 1 || leftovers != 0 || events != 1 || len(b.files()) != 1 {
		t.Errorf("there are %d rows, %d leftovers, %d events and files %q", rows, leftovers, events, b.files())
	}
	if status := b.upload(id, token, "artifact_format=gzip&artifact_type=junit", file("report")); status != http.StatusCreated {
		t.Errorf("one of another type: %d", status)
	}
}

func TestArtifactIsRefused(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{MostArtifact: 10})
	id, token := b.running()
	for what, sent := range map[string]struct {
		query string
		parts []part
		want  int
	}{
		"no part":          {"", nil, 400},
		"another part":     {"", []part{{`form-data; name="other"; filename="a"`, "x"}}, 400},
		"no filename":      {"", []part{{`form-data; name="file"`, "x"}}, 400},
		"a path":           {"", []part{{`form-data; name="file"; filename="../a"`, "x"}}, 400},
		"another's path":   {"", []part{{`form-data; name="file"; filename="a\\\\b"`, "x"}}, 400},
		"an encoded path":  {"", []part{{`form-data; name="file"; filename*=UTF-8''a%2Fb`, "x"}}, 400},
		"the folder above": {"", []part{{`form-data; name="file"; filename=".."`, "x"}}, 400},
		"a long name":      {"", []part{{`form-data; name="file"; filename="` + strings.Repeat("a", 256) + `"`, "x"}}, 400},
		"two":              {"", append(file("x"), file("y")...), 400},
		"too many bytes":   {"", file("01234567890"), 413},
		"no format":        {"artifact_format=rar", file("x"), 400},
		"no type":          {"artifact_type=../x", file("x"), 400},
		"no time":          {"expire_in=soon", file("x"), 400},
	} {
		if status := b.upload(id, token, sent.query, sent.parts); status != sent.want {
			t.Errorf("%s: %d, want %d", what, status, sent.want)
		}
		b.nothing(what)
	}
	if status := b.send(id, token, "", "text/plain", strings.NewReader("x")); status != http.StatusBadRequest {
		t.Errorf("no form: %d", status)
	}
	if status := b.upload(id, "wrong", "", file("x")); status != http.StatusForbidden {
		t.Errorf("a wrong token: %d", status)
	}
	if status := b.upload(999_999, token, "", file("x")); status != http.StatusNotFound {
		t.Errorf("no such build: %d", status)
	}
	if a := b.finish(id, token, ""); a.Status != http.StatusOK {
		t.Fatalf("the end: %d", a.Status)
	}
	if status := b.upload(id, token, "", file("x")); status != http.StatusForbidden {
		t.Errorf("after the end: %d", status)
	}
	b.nothing("all of it")
	if status := b.upload(id, token, "", file("0123456789")); status != http.StatusForbidden {
		t.Errorf("as much as there may be, after the end: %d", status)
	}
}

func TestArtifactThatIsCutLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	id, token := b.running()
	contentType, body := form(t, file(strings.Repeat("x", 1<<20)))
	for _, end := range []int{20, 1000, len(body) / 2, len(body) - 10} {
		if status := b.send(id, token, "", contentType, bytes.NewReader(body[:end])); status != http.StatusBadRequest {
			t.Errorf("cut at byte %d: %d", end, status)
		}
		b.nothing(fmt.Sprintf("what was cut at byte %d", end))
	}
}

// slowStore tells when the first bytes have come, and keeps none; or it fails.
type slowStore struct {
	runner.FileStore
	first chan struct{}
}

func (s slowStore) Put(_ context.Context, _ string, content io.Reader) error {
	if s.first == nil {
		return errors.New("the disk is full")
	}
	if _, err := io.ReadFull(content, make([]byte, 1000)); err != nil {
		return err
	}
	close(s.first)
	_, err := io.Copy(io.Discard, content)
	return err
}

// The store has the first bytes before the runner sends the last.
func TestArtifactIsStreamed(t *testing.T) {
	t.Parallel()
	store := slowStore{first: make(chan struct{})}
	b := newBench(t, runner.Options{Artifacts: store})
	id, token := b.running()
	contentType, body := form(t, file(strings.Repeat("x", 1<<20)))
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(body[:len(body)/2])
		<-store.first
		if err == nil {
			_, err = writer.Write(body[len(body)/2:])
		}
		writer.CloseWithError(err)
	}()
	if status := b.send(id, token, "", contentType, reader); status != http.StatusCreated {
		t.Errorf("an upload: %d", status)
	}
}

func TestAStoreThatFails(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	failing := benchOn(t, b.pool, runner.Options{Artifacts: slowStore{FileStore: b.store}})
	id, token := b.running()
	if status := failing.upload(id, token, "", file("bytes")); status != http.StatusServiceUnavailable {
		t.Errorf("an upload: %d", status)
	}
	b.nothing("a store that fails")
}

// The process died at a point of the upload. What is there stays while the attempt may go
// on, and goes when it has ended.
func TestWhatAnUploadLeavesGoesWithItsAttempt(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"upload begun", "upload stored", "upload kept"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			died := func(at string) {
				if at == point {
					panic(http.ErrAbortHandler)
				}
			}
			b := newArtifactBench(t, runner.Options{Hook: died})
			id, token := b.running()
			contentType, text := form(t, file("bytes"))
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("%s/api/v4/jobs/%d/artifacts", b.url, id), bytes.NewReader(text))
			must(t, err)
			request.Header.Set("Content-Type", contentType)
			request.Header.Set("Job-Token", token)
			if response, err := b.client.Do(request); err == nil {
				t.Fatal("it was answered", response.Body.Close())
			}
			before := len(b.files())
			must(t, b.c.Tidy(t.Context()))
			if len(b.files()) != before {
				t.Error("bytes of an attempt that may go on were removed")
			}
			want := 0
			if point == "upload kept" {
				want = 1
			}
			b.finish(id, token, "")
			for range 2 {
				must(t, b.c.Tidy(t.Context()))
				if rows, leftovers, _ := b.left(); rows != want || leftovers != 0 || len(b.files()) != want {
					t.Errorf("there are %d rows, %d leftovers and files %q, want %d", rows, leftovers, b.files(), want)
				}
			}
		})
	}
}

// The attempt ends while an upload is at work, and what it has left is removed; then the
// upload goes on.
func TestAnUploadThatOutlivesItsAttempt(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"upload begun", "upload stored"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			reached, release := make(chan struct{}), make(chan struct{})
			b := newArtifactBench(t, runner.Options{Hook: func(at string) {
				if at == point {
					close(reached)
					<-release
				}
			}})
			id, token := b.running()
			status := make(chan int, 1)
			go func() { status <- b.upload(id, token, "", file("bytes")) }()
			<-reached
			b.finish(id, token, "")
			must(t, b.c.Tidy(t.Context()))
			b.nothing("the removal")
			close(release)
			if got := <-status; got != http.StatusForbidden {
				t.Errorf("the upload: %d", got)
			}
			b.nothing("the upload")
		})
	}
}

func TestArtifactsExpire(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	id, token := b.running()
	for kind, expire := range map[string]string{"archive": "0", "junit": "1 day", "trace": "never"} {
		if status := b.upload(id, token, "artifact_type="+kind+"&expire_in="+strings.ReplaceAll(expire, " ", "+"), file(kind)); status != http.StatusCreated {
			t.Fatalf("an upload of %s: %d", kind, status)
		}
	}
	if got := b.download(id, token, ""); got.status != http.StatusNotFound {
		t.Errorf("what has expired: %d", got.status)
	}
	must(t, b.c.Tidy(t.Context()))
	if rows, leftovers, events := b.left(); rows != 2 || leftovers != 0 || events != 4 || len(b.files()) != 2 {
		t.Errorf("there are %d rows, %d leftovers, %d events and files %q", rows, leftovers, events, b.files())
	}
	_, err := b.pool.Exec(t.Context(), "DELETE FROM casq.pipelines")
	must(t, err)
	must(t, b.c.Tidy(t.Context()))
	if rows, leftovers, events := b.left(); rows != 0 || leftovers != 0 || events != 6 || len(b.files()) != 0 {
		t.Errorf("with their build there are %d rows, %d leftovers, %d events and files %q", rows, leftovers, events, b.files())
	}
}

func TestDependenciesAreDownloaded(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	ids := b.pipeline(
		runner.Build{Name: "one"}, runner.Build{Name: "two"}, runner.Build{Name: "other"},
		runner.Build{Name: "three", Needs: []string{"one", "two"}},
	)
	runnerToken := b.runner()
	tokens := make(map[int64]string)
	for range 3 {
		a := b.request(runnerToken, "")
		tokens[a.Build()] = a.Token()
		if a.Build() == ids[0] || a.Build() == ids[2] {
			if status := b.upload(a.Build(), a.Token(), "", file("of one")); status != http.StatusCreated {
				t.Fatalf("an upload: %d", status)
			}
		}
	}
	if got := b.download(ids[0], tokens[ids[0]], ""); got.text != "of one" {
		t.Errorf("with its own token: %q", got.text)
	}
	for id, token := range tokens {
		b.finish(id, token, "")
	}
	a := b.request(runnerToken, "")
	dependencies, err := json.Marshal(a.Body["dependencies"])
	must(t, err)
	want := fmt.Sprintf(`[{"artifacts_file":{"filename":"art.zip","size":6},"id":%d,"name":"one","token":%q}]`, ids[0], a.Token())
	if string(dependencies) != want {
		t.Errorf("it gets %s, want %s", dependencies, want)
	}
	got := b.download(ids[0], a.Token(), "")
	if got.status != http.StatusOK || got.text != "of one" || got.header.Get("Content-Type") != "application/zip" || got.header.Get("Content-Length") != "6" {
		t.Errorf("what it needs: %d %v %q", got.status, got.header, got.text)
	}
	got = b.download(ids[0], a.Token(), "bytes=3-")
	if got.status != http.StatusPartialContent || got.text != "one" {
		t.Errorf("a piece of it: %d %q", got.status, got.text)
	}
	for _, asked := range []struct {
		what, token string
		id          int64
		want        int
	}{
		{"no token", "", ids[0], 401},
		{"a wrong token", "wrong", ids[0], 401},
		{"one that it does not need", a.Token(), ids[2], 403},
		{"one without", a.Token(), ids[1], 404},
		{"no build", a.Token(), 999_999, 404},
	} {
		if got := b.download(asked.id, asked.token, ""); got.status != asked.want {
			t.Errorf("%s: %d, want %d", asked.what, got.status, asked.want)
		}
	}
	b.finish(a.Build(), a.Token(), "")
	if got := b.download(ids[0], a.Token(), ""); got.status != http.StatusForbidden {
		t.Errorf("after the end: %d", got.status)
	}
}

// What a build leaves that fails, as it may, is for those that need it.
func TestWhatAFailedBuildLeftIsHandedOn(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	ids := b.pipeline(runner.Build{Name: "may fail", AllowFailure: true}, runner.Build{Name: "next", Needs: []string{"may fail"}})
	runnerToken := b.runner()
	failing := b.request(runnerToken, "")
	if status := b.upload(ids[0], failing.Token(), "", file("what is left")); status != http.StatusCreated {
		t.Fatalf("an upload: %d", status)
	}
	b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", ids[0]), body{"token": failing.Token(), "state": "failed"})
	next := b.request(runnerToken, "")
	if dependencies, _ := next.Body["dependencies"].([]any); len(dependencies) != 1 {
		t.Fatalf("it gets %v", next.Body["dependencies"])
	}
	if got := b.download(ids[0], next.Token(), ""); got.text != "what is left" {
		t.Errorf("it gets %d %q", got.status, got.text)
	}
}

func TestALaterAttemptReplacesWhatAnEarlierLeft(t *testing.T) {
	t.Parallel()
	b := newArtifactBench(t, runner.Options{})
	id, token := b.running()
	if status := b.upload(id, token, "", file("first")); status != http.StatusCreated {
		t.Fatalf("an upload: %d", status)
	}
	b.finish(id, token, "")
	_, err := b.pool.Exec(t.Context(), "SELECT casq.retry_build($1)", id)
	must(t, err)
	a := b.request(b.runner(), "")
	if got := b.download(id, a.Token(), ""); got.status != http.StatusNotFound {
		t.Errorf("the second attempt has left nothing: %d", got.status)
	}
	if status := b.upload(id, token, "", file("first")); status != http.StatusForbidden {
		t.Errorf("the first attempt: %d", status)
	}
	if status := b.upload(id, a.Token(), "", file("second")); status != http.StatusCreated {
		t.Fatalf("an upload: %d", status)
	}
	must(t, b.c.Tidy(t.Context()))
	if rows, leftovers, events := b.left(); rows != 1 || leftovers != 0 || events != 3 || len(b.files()) != 1 {
		t.Errorf("there are %d rows, %d leftovers, %d events and files %q", rows, leftovers, events, b.files())
	}
	if got := b.download(id, a.Token(), ""); got.text != "second" {
		t.Errorf("there is %q", got.text)
	}
}

func TestWithoutAStoreNothingIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	id, token := b.running()
	if status := b.upload(id, token, "", file("x")); status != http.StatusNotFound {
		t.Errorf("an upload: %d", status)
	}
	if got := b.download(id, token, ""); got.status != http.StatusNotFound {
		t.Errorf("a download: %d", got.status)
	}
	var kinds int
	must(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.kinds").Scan(&kinds))
	if kinds != 0 {
		t.Errorf("there are %d kinds", kinds)
	}
}
