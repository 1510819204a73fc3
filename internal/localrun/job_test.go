package localrun

import (
	"encoding/json"
	"strings"
	"testing"

	"casq/internal/cifile"
)

// A job is what its file says, in the words of GitLab Runner's API; what was given goes
// before what the file has, and that before what is predefined.
func TestJobsAreRendered(t *testing.T) {
	t.Parallel()
	r := &run{
		cfg:        Config{Executor: Shell, Variables: []cifile.Variable{{Key: "B", Value: "given", Raw: true, Masked: true}}},
		snapshot:   &snapshot{dir: "/tmp/source.git", branch: "main", sha: strings.Repeat("a", 40)},
		predefined: []cifile.Variable{{Key: "A", Value: "predefined"}, {Key: "B", Value: "predefined"}, {Key: "GIT_DEPTH", Value: "3"}},
	}
	job := &cifile.Planned{
		Job: &cifile.Job{
			Stage: "test", Script: []string{"one", "two"}, AfterScript: []string{"three"}, Image: &cifile.Image{Name: "golang"},
			Artifacts: []cifile.Artifacts{{Paths: []string{"out"}, Type: "archive", Format: "zip"}},
			Caches:    []cifile.Cache{{Key: "default", Paths: []string{"c"}}},
		},
		Name: "a job", Variables: []cifile.Variable{{Key: "A", Value: "own"}},
	}
	text, err := r.rendered(job)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"steps":[{"name":"script","script":["one","two"],"when":"on_success"},{"allow_failure":true,"name":"after_script","script":["three"],"when":"always"}]`,
		`{"key":"A","value":"own","public":true}`, `{"key":"B","value":"given","public":false,"masked":true,"raw":true}`,
		`{"key":"CI_JOB_NAME","value":"a job","public":true,"raw":true}`, `{"key":"CI_JOB_NAME_SLUG","value":"a-job","public":true,"raw":true}`,
		`"artifacts":[{"paths":["out"],"artifact_type":"archive","artifact_format":"zip"}]`, `"cache":[{"key":"default","paths":["c"]}]`,
		`"depth":3`, `"refspecs":["+refs/heads/main:refs/remotes/origin/main"]`, `"repo_url":"file:///tmp/source.git"`, `"allow_git_fetch":false`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it lacks %s:\n%s", want, text)
		}
	}
	if !json.Valid(text) || strings.Contains(string(text), `"image"`) {
		t.Errorf("got %s", text)
	}
	r.cfg.Executor = Docker
	if text, err = r.rendered(job); err != nil || !strings.Contains(string(text), `"image":{"name":"golang"}`) {
		t.Errorf("with containers: %v, %s", err, text)
	}
	r.predefined[2].Value = "all"
	if _, err := r.rendered(job); err == nil || !strings.Contains(err.Error(), `GIT_DEPTH is "all"`) {
		t.Errorf("got %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	t.Parallel()
	r := &run{cfg: Config{Executor: Docker, Concurrent: 3}, place: &place{dir: "/tmp/run"}, snapshot: &snapshot{dir: "/tmp/run/source.git"}}
	const want = `concurrent = 3
check_interval = 1
shutdown_timeout = 10

[[runners]]
  name = "enqueue exec"
  url = "http://127.0.0.1:1"
  token = "glrt-x"
  executor = "docker"
  request_concurrency = 3
  [runners.docker]
    image = "alpine:latest"
    network_mode = "host"
    volumes = ["/tmp/run/source.git:/tmp/run/source.git:ro", "/cache"]
`
	if got := r.configuration("http://127.0.0.1:1", "glrt-x"); got != want {
		t.Errorf("got\n%s", got)
	}
}
