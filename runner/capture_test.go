package runner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"casq/runner"
	"casq/runner/filestore"
)

// exchange is a request of a real runner, and what it was answered with.
type exchange struct {
	number               string
	method, target       string
	header, answerHeader textproto.MIMEHeader
	body, answerBody     string
	status               int
}

var (
	captured = regexp.MustCompile(`(?s)^#(\d+)[^\n]*\n>>> (\S+) (\S+) [^\n]*\n(.*?)\n\n(.*)\n<<< (\d+) [^\n]*\n(.*?)\n\n(.*)$`)
	rule     = regexp.MustCompile(`(?m)^-{60,}\n?`)
)

func readCapture(t testing.TB, file string) (all []exchange) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	for _, part := range rule.Split(string(text), -1) {
		if !strings.HasPrefix(part, "#") {
			continue // the end, or the log once more
		}
		found := captured.FindStringSubmatch(part)
		if found == nil {
			t.Fatalf("%s: cannot read %.80q", file, part)
		}
		status, err := strconv.Atoi(found[6])
		must(t, err)
		all = append(all, exchange{
			number: found[1], method: found[2], target: found[3], header: headers(found[4]), body: unlessEmpty(found[5]),
			status: status, answerHeader: headers(found[7]), answerBody: unlessEmpty(found[8]),
		})
	}
	return all
}

func headers(text string) textproto.MIMEHeader {
	h := make(textproto.MIMEHeader)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ": "); found {
			h.Set(name, value)
		}
	}
	return h
}

func unlessEmpty(text string) string {
	if strings.TrimSpace(text) == "(empty)" {
		return ""
	}
	return strings.TrimSuffix(text, "\n")
}

// otherwise are answers that differ on purpose from those in the captures, whose
// coordinator had been told to give them.
var otherwise = map[string]int{
	"register-verify-unregister.txt 1": http.StatusGone,     // runners are made by people
	"put202.txt 5":                     http.StatusOK,       // an end is taken in at once
	"put202.txt 6":                     http.StatusOK,       // and again
	"range.txt 4":                      http.StatusAccepted, // nothing was lost here
	"range.txt 5":                      http.StatusRequestedRangeNotSatisfiable,
}

// otherwiseNamed are headers that differ: a build whose runner has begun is canceling
// until that has stopped, and then canceled.
var otherwiseNamed = map[string]string{
	"cancel.txt 4 Job-Status":    "canceling",
	"cancel.txt 5 Job-Status":    "canceling",
	"cancel.txt 6 Job-Status":    "canceled",
	"canceling.txt 6 Job-Status": "canceled",
	"put202.txt 5 Job-Status":    "success",
	"put202.txt 6 Job-Status":    "success",
	"range.txt 4 Range":          "0-661",
}

// replay is a capture that is played to a coordinator.
type replay struct {
	*bench
	name   string
	tokens map[string]string // ours, by those in the capture
	ids    map[string]string
	log    []byte // of the build that runs
}

// TestCaptures makes the requests of real runners, one after the other.
func TestCaptures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/captures/*.txt")
	must(t, err)
	if len(files) < 16 {
		t.Fatalf("there are only %d captures", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			store, err := filestore.OpenFolder(t.TempDir())
			must(t, err)
			t.Cleanup(func() { _ = store.Close() })
			r := &replay{
				bench: newBench(t, runner.Options{Hold: 20 * time.Millisecond, Artifacts: store}),
				name:  filepath.Base(file), tokens: make(map[string]string), ids: make(map[string]string),
			}
			all := readCapture(t, file)
			if len(all) < 6 {
				t.Fatalf("it has only %d exchanges", len(all))
			}
			r.prepare(all)
			for i := range all {
				r.play(&all[i])
			}
		})
	}
}

// prepare makes the runners and builds of a capture.
func (r *replay) prepare(all []exchange) {
	r.t.Helper()
	made := make(map[string]bool)
	var builds []runner.Build
	for i := range all {
		e := &all[i]
		switch {
		case e.target == "/api/v4/jobs/request" && e.status == http.StatusCreated:
			builds = append(builds, r.build(e, len(builds)))
		case e.status < 300 && !made[e.token()] && !strings.Contains(e.token(), "rotated") && strings.HasPrefix(e.target, "/api/v4/runners"):
			made[e.token()] = true
			_, err := r.pool.Exec(r.t.Context(), "SELECT casq.create_runner('captured')")
			must(r.t, err)
			_, err = r.pool.Exec(r.t.Context(), `UPDATE casq.runners SET token_hash = sha256(convert_to($1, 'UTF8'))
				WHERE id = (SELECT max(id) FROM casq.runners)`, e.token())
			must(r.t, err)
		}
	}
	if len(builds) > 0 {
		r.pipeline(builds...)
	}
}

// token is that of the request.
func (e *exchange) token() string {
	var said struct{ Token string }
	_ = json.Unmarshal([]byte(e.text()), &said)
	return said.Token
}

// text is the body, with an object for what was left out of it.
func (e *exchange) text() string { return strings.ReplaceAll(e.body, "{...}", "{}") }

func (r *replay) build(e *exchange, before int) runner.Build {
	r.t.Helper()
	var job map[string]any
	must(r.t, json.Unmarshal([]byte(e.answerBody), &job))
	b := runner.Build{Name: fmt.Sprint("build ", before)}
	if needed, _ := job["dependencies"].([]any); len(needed) > 0 {
		b.Needs = []string{fmt.Sprint("build ", before-1)}
	}
	for _, ours := range []string{"id", "token", "job_info", "runner_info", "dependencies"} {
		delete(job, ours)
	}
	text, err := json.Marshal(job)
	must(r.t, err)
	b.Job = text
	return b
}

// play makes one request, and compares the answer.
func (r *replay) play(e *exchange) {
	r.t.Helper()
	if e.answerHeader.Get("Job-Status") == "canceling" || r.name == "cancel.txt" && e.number == "4" {
		_, err := r.pool.Exec(r.t.Context(), "SELECT casq.cancel_build(id) FROM casq.builds WHERE status = 'running'")
		must(r.t, err)
	}
	got := r.send(e)
	want := e.status
	if ours, differs := otherwise[r.name+" "+e.number]; differs {
		want = ours
	}
	at := fmt.Sprintf("%s #%s %s %s", r.name, e.number, e.method, e.target)
	if got.status != want {
		r.t.Fatalf("%s: %d %s, want %d", at, got.status, got.body, want)
	}
	if told := got.header.Get("X-GitLab-Last-Update"); told != "" && want != http.StatusNoContent {
		r.t.Errorf("%s: %d comes with the last update %q", at, want, told)
	}
	if id := got.header.Get("X-Request-Id"); id != "request-"+e.number {
		r.t.Errorf("%s: X-Request-Id is %q", at, id)
	}
	for _, name := range []string{"Job-Status", "Range"} {
		wanted := e.answerHeader.Get(name)
		if ours, differs := otherwiseNamed[r.name+" "+e.number+" "+name]; differs {
			wanted = ours
		}
		if said := got.header.Get(name); said != wanted {
			r.t.Errorf("%s: %s is %q, want %q", at, name, said, wanted)
		}
	}
	if e.target == "/api/v4/jobs/request" && want == http.StatusCreated {
		r.log = nil
		r.compareJob(at, e, got.body)
	}
	r.learn(e, got.body)
}

// learn keeps which token and id of ours stand for those in the capture.
func (r *replay) learn(e *exchange, body []byte) {
	var theirs, ours struct {
		ID    int64
		Token string
	}
	if json.Unmarshal([]byte(e.answerBody), &theirs) != nil || json.Unmarshal(body, &ours) != nil {
		return
	}
	if theirs.Token != "" && ours.Token != "" {
		r.tokens[theirs.Token] = ours.Token
	}
	if e.target == "/api/v4/jobs/request" && ours.ID != 0 {
		r.ids[strconv.FormatInt(theirs.ID, 10)] = strconv.FormatInt(ours.ID, 10)
	}
}

// compareJob wants what a runner was given in the capture.
func (r *replay) compareJob(at string, e *exchange, body []byte) {
	r.t.Helper()
	var theirs, ours map[string]json.RawMessage
	must(r.t, json.Unmarshal([]byte(e.answerBody), &theirs))
	must(r.t, json.Unmarshal(body, &ours))
	for key, want := range theirs {
		got, there := ours[key]
		if !there {
			r.t.Errorf("%s: the job has no %s", at, key)
		}
		if key == "artifacts" || key == "git_info" {
			if normal(r.t, got) != normal(r.t, want) {
				r.t.Errorf("%s: %s is %s, want %s", at, key, got, want)
			}
		}
	}
}

func normal(t testing.TB, text json.RawMessage) string {
	t.Helper()
	var v any
	must(t, json.Unmarshal(text, &v))
	out, err := json.Marshal(v)
	must(t, err)
	return string(out)
}

var jobPath = regexp.MustCompile(`/jobs/(\d+)`)

// received is an answer of ours.
type received struct {
	status int
	header http.Header
	body   []byte
}

func (r *replay) send(e *exchange) received {
	r.t.Helper()
	target := e.target
	if found := jobPath.FindStringSubmatch(target); found != nil {
		target = strings.Replace(target, found[0], "/jobs/"+r.ids[found[1]], 1)
	}
	body, contentType := r.bodyOf(e)
	request, err := http.NewRequestWithContext(r.t.Context(), e.method, r.url+target, bytes.NewReader(body))
	must(r.t, err)
	for name := range e.header {
		value := e.header.Get(name)
		if ours, known := r.tokens[value]; known {
			value = ours
		}
		if name != "Host" && name != "Content-Length" && name != "Transfer-Encoding" && name != "Accept-Encoding" {
			request.Header.Set(name, value)
		}
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("X-Request-Id", "request-"+e.number)
	response, err := r.client.Do(request)
	must(r.t, err)
	defer response.Body.Close()
	answered, err := io.ReadAll(response.Body)
	must(r.t, err)
	if e.method == http.MethodPatch && response.StatusCode == http.StatusAccepted {
		r.keep(e.header.Get("Content-Range"), body)
	}
	return received{response.StatusCode, response.Header, answered}
}

// keep is what the runner has sent of its log.
func (r *replay) keep(contentRange string, piece []byte) {
	if strings.HasPrefix(contentRange, "0-") {
		r.log = nil
	}
	r.log = append(r.log, piece...)
}

// bodyOf is the request's body, with our tokens. The captures lack some bytes of logs,
// and have words for a file: those are made up, as long as they were, and the sum with
// them.
func (r *replay) bodyOf(e *exchange) (body []byte, contentType string) {
	r.t.Helper()
	switch {
	case e.method == http.MethodPatch:
		length, err := strconv.Atoi(e.header.Get("Content-Length"))
		must(r.t, err)
		body = append([]byte(e.body), bytes.Repeat([]byte("."), length)...)[:length]
		return body, ""
	case strings.HasPrefix(e.header.Get("Content-Type"), "multipart/"):
		return multipartFile(r.t)
	case e.body == "":
		return nil, ""
	}
	var said map[string]any
	must(r.t, json.Unmarshal([]byte(e.text()), &said))
	if token, _ := said["token"].(string); r.tokens[token] != "" {
		said["token"] = r.tokens[token]
	}
	if output, there := said["output"].(map[string]any); there {
		sum := fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE(r.log))
		if e.status == http.StatusPreconditionFailed {
			sum = "crc32:00000000" // of a log that is not the one that was sent
		}
		said["checksum"], output["checksum"], output["bytesize"] = sum, sum, len(r.log)
	}
	body, err := json.Marshal(said)
	must(r.t, err)
	return body, ""
}

func multipartFile(t testing.TB) (body []byte, contentType string) {
	t.Helper()
	var out bytes.Buffer
	form := multipart.NewWriter(&out)
	part, err := form.CreateFormFile("file", "artifacts.zip")
	must(t, err)
	_, err = part.Write(bytes.Repeat([]byte("PK"), 103))
	must(t, err)
	must(t, form.Close())
	return out.Bytes(), form.FormDataContentType()
}
