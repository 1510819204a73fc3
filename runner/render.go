package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const giveBackWithin = 2 * time.Second

// errRender says that a build's job cannot be made into what a runner understands.
var errRender = errors.New("its job cannot be handed to a runner")

// render makes the answer of an assignment: the job as it was queued, and what is known
// only now.
func (c *Coordinator) render(ctx context.Context, a *assignment) ([]byte, error) {
	if err := c.findDependencies(ctx, a); err != nil {
		return nil, err
	}
	var job map[string]json.RawMessage
	if err := json.Unmarshal(a.job, &job); err != nil || job == nil {
		return nil, fmt.Errorf("%w: it is no JSON object", errRender)
	}
	steps, err := renderSteps(job["steps"], a.timeout)
	if err != nil {
		return nil, err
	}
	variables, err := renderVariables(job)
	if err != nil {
		return nil, err
	}
	features, err := object(job["features"])
	if err != nil {
		return nil, fmt.Errorf("%w: features is no object", errRender)
	}
	if _, said := features["trace_sections"]; !said {
		features["trace_sections"] = true
	}
	set := map[string]any{
		"id": a.id, "token": a.token, "steps": steps, "variables": variables, "features": features,
		"job_info": map[string]any{
			"id": a.id, "name": a.name, "stage": a.stage, "project_id": a.project, "project_name": a.path,
			"project_full_path": a.path, "time_in_queue_seconds": a.queuedFor,
		},
		"runner_info":  map[string]any{"timeout": a.timeout},
		"dependencies": renderDependencies(a),
	}
	for key, value := range set {
		if job[key], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errRender, key, err)
		}
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(job); err != nil {
		return nil, fmt.Errorf("%w: %w", errRender, err)
	}
	return body.Bytes(), nil
}

func (c *Coordinator) findDependencies(ctx context.Context, a *assignment) error {
	if !a.needs {
		return nil
	}
	rows, err := c.primary.Query(ctx, pickSQL.Dependencies, a.id)
	if err != nil {
		return fmt.Errorf("ask what build %d needs: %w", a.id, err)
	}
	a.dependencies, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d dependency, err error) {
		err = row.Scan(&d.id, &d.name, &d.filename, &d.size)
		return d, err
	})
	if err != nil {
		return fmt.Errorf("ask what build %d needs: %w", a.id, err)
	}
	return nil
}

// renderSteps fills in what a step does not say.
func renderSteps(text json.RawMessage, timeout int32) ([]map[string]any, error) {
	var steps []map[string]any
	if err := json.Unmarshal(text, &steps); err != nil || len(steps) == 0 {
		return nil, fmt.Errorf("%w: steps is no list of steps", errRender)
	}
	for i, step := range steps {
		script, ok := step["script"].([]any)
		if !ok || len(script) == 0 {
			return nil, fmt.Errorf("%w: step %d has no script", errRender, i+1)
		}
		for _, line := range script {
			if _, ok := line.(string); !ok {
				return nil, fmt.Errorf("%w: step %d has a script with what is no text", errRender, i+1)
			}
		}
		for key, value := range map[string]any{"name": "script", "timeout": timeout, "when": "on_success"} {
			if _, said := step[key]; !said {
				step[key] = value
			}
		}
	}
	return steps, nil
}

// renderVariables adds GIT_STRATEGY=none to a job that has no revision to fetch: a
// runner would take a piece of the revision's name.
func renderVariables(job map[string]json.RawMessage) ([]map[string]any, error) {
	variables := []map[string]any{}
	if text := job["variables"]; text != nil {
		if err := json.Unmarshal(text, &variables); err != nil {
			return nil, fmt.Errorf("%w: variables is no list of variables", errRender)
		}
	}
	git, err := object(job["git_info"])
	if err != nil {
		return nil, fmt.Errorf("%w: git_info is no object", errRender)
	}
	if sha, _ := git["sha"].(string); len(sha) >= 8 {
		return variables, nil
	}
	for _, v := range variables {
		if v["key"] == "GIT_STRATEGY" {
			return variables, nil
		}
	}
	return append(variables, map[string]any{"key": "GIT_STRATEGY", "value": "none", "public": true}), nil
}

func object(text json.RawMessage) (map[string]any, error) {
	var o map[string]any
	if text != nil {
		if err := json.Unmarshal(text, &o); err != nil {
			return nil, err
		}
	}
	if o == nil {
		o = make(map[string]any)
	}
	return o, nil
}

// renderDependencies names the builds whose artifacts this one may download, with its own
// token: it is valid for as long as the build runs.
func renderDependencies(a *assignment) []map[string]any {
	dependencies := []map[string]any{}
	for _, d := range a.dependencies {
		dependencies = append(dependencies, map[string]any{
			"id": d.id, "name": d.name, "token": a.token,
			"artifacts_file": map[string]any{"filename": d.filename, "size": d.size},
		})
	}
	return dependencies
}
