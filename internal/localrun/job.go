package localrun

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"casq/internal/cifile"
)

const (
	// defaultDepth is how much of the history a clone has.
	defaultDepth = 20
	// defaultTimeout is that of a job which says none.
	defaultTimeout = time.Hour

	noCommit = "0000000000000000000000000000000000000000"
)

// variable is one in the words of GitLab Runner's API.
type variable struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Public bool   `json:"public"`
	Masked bool   `json:"masked,omitempty"`
	Raw    bool   `json:"raw,omitempty"`
}

var noSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slug is a text as it may stand in names of hosts.
func slug(text string) string {
	const longest = 63
	text = noSlug.ReplaceAllString(strings.ToLower(text), "-")
	return strings.Trim(text[:min(len(text), longest)], "-")
}

// predefined are the variables that are known before a job is.
func predefined(s *snapshot, cfg Config) []cifile.Variable {
	var variables []cifile.Variable
	name := filepath.Base(cfg.Dir)
	for _, v := range [][2]string{
		{"CI", "true"}, {"GITLAB_CI", "true"}, {"FF_TIMESTAMPS", "false"}, // of the runner: no times before lines
		{"CI_PIPELINE_ID", "1"}, {"CI_PIPELINE_IID", "1"}, {"CI_PIPELINE_SOURCE", "push"},
		{"CI_PROJECT_ID", "1"}, {"CI_PROJECT_NAME", name}, {"CI_PROJECT_PATH", name}, {"CI_PROJECT_PATH_SLUG", slug(name)},
		{"CI_CONFIG_PATH", cfg.File},
		{"CI_COMMIT_SHA", s.sha}, {"CI_COMMIT_SHORT_SHA", s.sha[:8]}, {"CI_COMMIT_BEFORE_SHA", noCommit},
		{"CI_COMMIT_BRANCH", s.branch}, {"CI_COMMIT_REF_NAME", s.branch}, {"CI_COMMIT_REF_SLUG", slug(s.branch)},
		{"CI_COMMIT_TITLE", s.title}, {"CI_COMMIT_MESSAGE", s.message}, {"CI_COMMIT_AUTHOR", s.author},
		{"CI_COMMIT_TIMESTAMP", s.date}, {"CI_DEFAULT_BRANCH", s.branch},
	} {
		variables = append(variables, cifile.Variable{Key: v[0], Value: v[1], Raw: true})
	}
	return variables
}

// rendered is a job in the words of GitLab Runner's API.
func (r *run) rendered(job *cifile.Planned) (json.RawMessage, error) {
	steps := []map[string]any{{"name": "script", "script": job.Script, "when": "on_success"}}
	if len(job.AfterScript) > 0 {
		steps = append(steps, map[string]any{"name": "after_script", "script": job.AfterScript, "when": "always", "allow_failure": true})
	}
	variables := r.variables(job)
	depth, err := gitDepth(variables)
	if err != nil {
		return nil, err
	}
	rendered := map[string]any{
		"steps":           steps,
		"variables":       variables,
		"allow_git_fetch": false, // a fresh clone for each
		"git_info": map[string]any{
			"repo_url": "file://" + r.snapshot.dir, "ref": r.snapshot.branch, "sha": r.snapshot.sha, "before_sha": noCommit,
			"ref_type": "branch", "refspecs": []string{"+refs/heads/" + r.snapshot.branch + ":refs/remotes/origin/" + r.snapshot.branch},
			"depth": depth,
		},
		"artifacts": job.Artifacts,
		"cache":     job.Caches,
	}
	if r.cfg.Executor != Shell {
		rendered["services"] = job.Services
		if job.Image != nil {
			rendered["image"] = job.Image
		}
	}
	return json.Marshal(rendered)
}

// gitDepth is how much of the history a clone has: a runner goes by what it is told, and not
// by the variable. 0 is all of it.
func gitDepth(variables []variable) (int, error) {
	for _, v := range variables {
		if v.Key != "GIT_DEPTH" {
			continue
		}
		depth, err := strconv.Atoi(v.Value)
		if err != nil || depth < 0 {
			return 0, fmt.Errorf("GIT_DEPTH is %q: it has to be a number", v.Value)
		}
		return depth, nil
	}
	return defaultDepth, nil
}

// variables are all of a job: those of the file over those that are predefined, and those
// that were given over all.
func (r *run) variables(job *cifile.Planned) []variable {
	own := []cifile.Variable{
		{Key: "CI_JOB_NAME", Value: job.Name, Raw: true}, {Key: "CI_JOB_NAME_SLUG", Value: slug(job.Name), Raw: true},
		{Key: "CI_JOB_STAGE", Value: job.Stage, Raw: true},
	}
	if job.Image != nil {
		own = append(own, cifile.Variable{Key: "CI_JOB_IMAGE", Value: job.Image.Name})
	}
	var all []variable
	place := make(map[string]int)
	for _, list := range [][]cifile.Variable{r.predefined, own, job.Variables, r.cfg.Variables} {
		for _, v := range list {
			one := variable{Key: v.Key, Value: v.Value, Public: !v.Masked, Masked: v.Masked, Raw: v.Raw}
			if i, there := place[v.Key]; there {
				all[i] = one
				continue
			}
			place[v.Key] = len(all)
			all = append(all, one)
		}
	}
	return all
}

// timeout is how long a job may take.
func timeout(job *cifile.Planned) time.Duration {
	if job.Timeout == 0 {
		return defaultTimeout
	}
	return job.Timeout
}
