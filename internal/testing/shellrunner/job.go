package shellrunner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// job is a build that was handed out, as far as it is understood here.
type job struct {
	ID      int64  `json:"id"`
	Token   string `json:"token"`
	GitInfo struct {
		URL string `json:"repo_url"`
		SHA string `json:"sha"`
	} `json:"git_info"`
	RunnerInfo struct {
		Timeout int `json:"timeout"`
	} `json:"runner_info"`
	Variables []struct {
		Key, Value  string
		Raw, Masked bool
	} `json:"variables"`
	Steps []struct {
		Name   string   `json:"name"`
		Script []string `json:"script"`
	} `json:"steps"`
	Artifacts    []artifact `json:"artifacts"`
	Dependencies []struct {
		ID    int64  `json:"id"`
		Token string `json:"token"`
	} `json:"dependencies"`

	runner *runner
	slot   int
	dir    string
	env    []string
	sent   int
	masked []string
}

var errCanceled = errors.New("canceled")

// run runs the build, and says how it has ended.
func (j *job) run(ctx context.Context) error {
	j.dir = filepath.Join(j.runner.builds, fmt.Sprint(j.slot), "project")
	state := map[string]any{"token": j.Token, "state": "success"}
	err := j.prepare(ctx)
	if err == nil {
		limit, stop := context.WithTimeout(ctx, time.Duration(j.RunnerInfo.Timeout)*time.Second)
		err = j.script(limit, "script", "running")
		if err != nil && errors.Is(limit.Err(), context.DeadlineExceeded) {
			state["failure_reason"] = "job_execution_timeout"
		}
		stop()
	} else {
		state["failure_reason"] = "runner_system_failure"
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	outcome := "success"
	exit := (*exec.ExitError)(nil)
	switch {
	case errors.Is(err, errCanceled):
		outcome, state["state"] = "canceled", "failed"
	case errors.As(err, &exit) && state["failure_reason"] == nil:
		outcome, state["state"] = "failed", "failed"
		state["failure_reason"], state["exit_code"] = "script_failure", exit.ExitCode()
	case err != nil:
		outcome, state["state"] = "failed", "failed"
	}
	if afterErr := j.script(ctx, "after_script", outcome); afterErr != nil && ctx.Err() != nil {
		return afterErr
	}
	if err := j.upload(ctx, outcome == "success"); err != nil {
		state["state"], state["failure_reason"] = "failed", "runner_system_failure"
		err = j.append(ctx, []byte(err.Error()+"\n"))
		if err != nil {
			return err
		}
	}
	status, answer, _, err := j.runner.call(ctx, http.MethodPut, fmt.Sprintf("/api/v4/jobs/%d", j.ID), j.Token, state)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("said that build %d is %v and got %d %s", j.ID, state["state"], status, answer)
	}
	return err
}

// prepare makes a fresh clone, with the artifacts of others in it.
func (j *job) prepare(ctx context.Context) error {
	if err := os.RemoveAll(j.dir); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"clone", "--quiet", "--no-checkout", j.GitInfo.URL, j.dir}, {"-C", j.dir, "checkout", "--quiet", "--detach", j.GitInfo.SHA},
	} {
		if out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w: %s", args, err, out)
		}
	}
	values := map[string]string{"CI_PROJECT_DIR": j.dir}
	for _, v := range j.Variables {
		values[v.Key] = v.Value
		if v.Masked {
			j.masked = append(j.masked, v.Value)
		}
	}
	j.env = []string{"CI_PROJECT_DIR=" + j.dir}
	for _, v := range j.Variables {
		if !v.Raw {
			v.Value = os.Expand(v.Value, func(key string) string { return values[key] })
		}
		j.env = append(j.env, v.Key+"="+v.Value)
	}
	return j.download(ctx)
}

// script runs a step, if the build has it, and sends what it writes.
func (j *job) script(ctx context.Context, name, status string) error {
	for _, step := range j.Steps {
		if step.Name != name {
			continue
		}
		lines := []string{"set -e"}
		for _, line := range step.Script {
			lines = append(lines, "echo '$ '"+quote(line), line)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		log := &log{job: j, ctx: ctx, cancel: cancel, deaf: name != "script"}
		cmd := exec.CommandContext(ctx, "sh", "-c", strings.Join(lines, "\n"))
		cmd.Dir = j.dir
		cmd.Env = append(append(cmd.Environ(), j.env...), "CI_JOB_STATUS="+status)
		cmd.Stdout, cmd.Stderr = log, log
		// A group of its own, which ends as a whole.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		stop := log.report()
		err := cmd.Run()
		stop()
		if errors.Is(context.Cause(ctx), errCanceled) {
			return errCanceled
		}
		return err
	}
	return nil
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
