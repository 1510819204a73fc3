// Package shellrunner is a small runner of builds as processes of this machine: as a program
// it stands in for gitlab-runner, of which it knows `run --config FILE`, GitLab Runner's API,
// and no more than that.
package shellrunner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"sync"
	"syscall"
)

// Run is the program: it runs builds until SIGTERM.
func Run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return run(ctx, args)
}

// runner is what config.toml says of one.
type runner struct {
	url, token, builds string
	concurrent         int
	client             http.Client
}

func run(ctx context.Context, args []string) error {
	if len(args) < 3 || args[0] != "run" || args[1] != "--config" {
		return fmt.Errorf("want run --config FILE, not %q", args)
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	r := &runner{url: setting(text, "url"), token: setting(text, "token"), builds: setting(text, "builds_dir")}
	r.concurrent, err = strconv.Atoi(setting(text, "concurrent"))
	if err != nil || r.url == "" || r.token == "" || r.builds == "" || setting(text, "executor") != "shell" {
		return fmt.Errorf("this configuration is not complete:\n%s", text)
	}
	var slots sync.WaitGroup
	failures := make(chan error, r.concurrent)
	for slot := range r.concurrent {
		slots.Go(func() { failures <- r.work(ctx, slot) })
	}
	slots.Wait()
	close(failures)
	for failure := range failures {
		if ctx.Err() == nil {
			err = errors.Join(err, failure)
		}
	}
	return err
}

// setting is the value of a key of TOML, as far as this program needs it.
func setting(text []byte, key string) string {
	found := regexp.MustCompile(`(?m)^\s*` + key + ` = (.*)$`).FindSubmatch(text)
	if found == nil {
		return ""
	}
	if value, err := strconv.Unquote(string(found[1])); err == nil {
		return value
	}
	return string(found[1])
}

// work asks for builds and runs them, one after the other, until ctx is done.
func (r *runner) work(ctx context.Context, slot int) error {
	for ctx.Err() == nil {
		status, answer, _, err := r.call(ctx, http.MethodPost, "/api/v4/jobs/request", r.token, map[string]any{
			"token": r.token, "system_id": fmt.Sprintf("s_%012d", slot),
		})
		switch {
		case err != nil:
			return err
		case status == http.StatusCreated:
			var j job
			if err := json.Unmarshal(answer, &j); err != nil {
				return err
			}
			j.runner, j.slot = r, slot
			if err := j.run(ctx); err != nil {
				return err
			}
		case status != http.StatusNoContent:
			return fmt.Errorf("asked for a build and got %d %s", status, answer)
		}
	}
	return nil
}

// call makes a call with JSON.
func (r *runner) call(ctx context.Context, method, path, token string, body any) (status int, answer []byte, header http.Header, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, nil, err
	}
	return r.send(ctx, method, path, token, bytes.NewReader(text), map[string]string{"Content-Type": "application/json"})
}

func (r *runner) send(ctx context.Context, method, path, token string, body io.Reader, headers map[string]string) (status int, answer []byte, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, body)
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Private-Token", token)
	for key, value := range headers {
		request.Header.Set(key, value)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, response.Header, err
}
