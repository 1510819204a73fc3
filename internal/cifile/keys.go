package cifile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (r *reader) variables(v *value, what string) (variables []Variable) {
	r.each(v, what, func(key string, at Position, v *value) {
		if !variableName.MatchString(key) {
			r.wrong(at, "%s: %q is no name of a variable", what, key)
			return
		}
		variable := Variable{Key: key}
		switch v.kind {
		case null:
		case dict:
			r.each(v, what, func(sub string, at Position, v *value) {
				switch sub {
				case "value":
					variable.Value = r.text(v, what+":"+key)
				case "expand":
					variable.Raw = !r.boolean(v, what+":"+key+":expand")
				case "description", "options": // of a form in which people fill it in
				default:
					r.wrong(at, "%s:%s has the key %q: it may have value and expand", what, key, sub)
				}
			})
		default:
			variable.Value = r.text(v, what+":"+key)
		}
		variables = append(variables, variable)
	})
	return variables
}

func (j *jobReader) image(f field, what string) *Image {
	image := &Image{At: f.at}
	if f.value.kind == scalar {
		image.Name = j.text(f.value, what)
		return image
	}
	j.each(f.value, what, func(key string, at Position, v *value) {
		sub := what + ":" + key
		switch key {
		case "name":
			image.Name = j.text(v, sub)
		case "entrypoint":
			image.Entrypoint = j.texts(v, sub)
		case "pull_policy":
			image.PullPolicy = j.texts(v, sub)
		case "docker":
			image.ExecutorOptions = &ExecutorOptions{j.docker(v, sub)}
		case "alias", "command", "variables":
			if what != "services" {
				j.wrong(at, "%s:%s is for services", what, key)
				return
			}
			j.service(image, key, v)
		case "kubernetes":
			j.unsupported(at, "%s: %s is not supported here", j.job.Name, sub)
		default:
			j.wrong(at, "%s: %q is no key of %s", j.job.Name, key, what)
		}
	})
	if image.Name == "" {
		j.wrong(f.at, "%s: %s has no name", j.job.Name, what)
	}
	return image
}

func (j *jobReader) service(image *Image, key string, v *value) {
	switch key {
	case "alias":
		image.Alias = j.text(v, "services:alias")
	case "command":
		image.Command = j.texts(v, "services:command")
	case "variables":
		for _, variable := range j.variables(v, "services:variables") {
			image.Variables = append(image.Variables, ServiceVariable{variable.Key, variable.Value})
		}
	}
}

func (j *jobReader) docker(v *value, what string) (options DockerOptions) {
	j.each(v, what, func(key string, at Position, v *value) {
		switch key {
		case "platform":
			options.Platform = j.text(v, what+":platform")
		case "user":
			options.User = j.text(v, what+":user")
		default:
			j.wrong(at, "%s: %q is no key of %s", j.job.Name, key, what)
		}
	})
	return options
}

func (j *jobReader) services(f field) {
	if f.value.kind != list {
		j.wrong(f.at, "services is %s: it has to be a list", f.value.describe())
		return
	}
	j.job.Services = nil
	for _, item := range f.value.items {
		j.job.Services = append(j.job.Services, *j.image(field{item.at, item}, "services"))
	}
}

func (j *jobReader) when(f field) {
	if f.value.text == "delayed" {
		j.unsupported(f.at, "%s: when: delayed is not supported here: a delayed job is started by GitLab", j.job.Name)
		return
	}
	j.job.When = When(j.choice(f.value, "when", string(OnSuccess), string(OnFailure), string(Always), string(Manual), string(Never)))
}

func (j *jobReader) allowFailure(f field) {
	if f.value.kind != dict {
		j.job.AllowFailure.Any = j.boolean(f.value, "allow_failure")
		return
	}
	j.each(f.value, "allow_failure", func(key string, at Position, v *value) {
		if key != "exit_codes" {
			j.wrong(at, "allow_failure has the key %q: it may have exit_codes", key)
			return
		}
		j.job.AllowFailure.ExitCodes = j.exitCodes(v, "allow_failure:exit_codes")
	})
}

func (r *reader) exitCodes(v *value, what string) (codes []int) {
	if v.kind == scalar {
		return []int{r.number(v, what, 0, 255)}
	}
	if v.kind != list {
		r.wrong(v.at, "%s is %s: it has to be a list of numbers", what, v.describe())
		return nil
	}
	for _, item := range v.items {
		codes = append(codes, r.number(item, what, 0, 255))
	}
	return codes
}

const mostRetries = 2

// retryReasons are those that a job may be tried again for, in GitLab's words.
var retryReasons = []string{
	"always", "unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure", "runner_system_failure",
	"runner_unsupported", "stale_schedule", "job_execution_timeout", "archived_failure", "unmet_prerequisites",
	"scheduler_failure", "data_integrity_failure",
}

func (j *jobReader) retry(f field) {
	if f.value.kind != dict {
		j.job.Retry.Most = j.number(f.value, "retry", 0, mostRetries)
		return
	}
	j.each(f.value, "retry", func(key string, at Position, v *value) {
		switch key {
		case "max":
			j.job.Retry.Most = j.number(v, "retry:max", 0, mostRetries)
		case "when":
			if v.kind == scalar {
				v = &value{at: v.at, kind: list, items: []*value{v}}
			}
			for _, item := range v.items {
				j.job.Retry.When = append(j.job.Retry.When, j.choice(item, "retry:when", retryReasons...))
			}
		case "exit_codes":
			j.job.Retry.ExitCodes = j.exitCodes(v, "retry:exit_codes")
		default:
			j.wrong(at, "retry has the key %q: it may have max, when and exit_codes", key)
		}
	})
}

func (j *jobReader) needs(f field) {
	j.job.HasNeeds = true
	if f.value.kind != list {
		j.wrong(f.at, "needs is %s: it has to be a list", f.value.describe())
		return
	}
	for _, item := range f.value.items {
		need := Need{At: item.at, Artifacts: true}
		if item.kind != dict {
			need.Job = j.text(item, "needs")
		} else {
			need = j.need(item, need)
		}
		if need.Job != "" {
			j.job.Needs = append(j.job.Needs, need)
		}
	}
}

// need reads a need that is a map. Of one that is not supported nothing is left.
func (j *jobReader) need(item *value, need Need) Need {
	elsewhere := false
	j.each(item, "needs", func(key string, at Position, v *value) {
		switch key {
		case "job":
			need.Job = j.text(v, "needs:job")
		case "artifacts":
			need.Artifacts = j.boolean(v, "needs:artifacts")
		case "optional":
			need.Optional = j.boolean(v, "needs:optional")
		case "pipeline", "project", "ref", "parallel":
			elsewhere = true
			j.unsupported(at, "%s: needs:%s is not supported here", j.job.Name, key)
		default:
			j.wrong(at, "%s: needs has the key %q: it may have job, artifacts and optional", j.job.Name, key)
		}
	})
	if elsewhere {
		need.Job = ""
	}
	return need
}

// mostInstances is how many jobs parallel may make of one.
const mostInstances = 200

func (j *jobReader) parallel(f field) {
	if f.value.kind != dict {
		n := j.number(f.value, "parallel", 1, mostInstances)
		for i := range n {
			j.job.Instances = append(j.job.Instances, Instance{fmt.Sprintf(" %d/%d", i+1, n), node(i, n)})
		}
		return
	}
	j.each(f.value, "parallel", func(key string, at Position, v *value) {
		if key != "matrix" {
			j.wrong(at, "parallel has the key %q: it may have matrix, or be a number", key)
			return
		}
		j.matrix(v)
	})
}

// node are the variables by which an instance knows which it is.
func node(i, n int) []Variable {
	return []Variable{{Key: "CI_NODE_INDEX", Value: fmt.Sprint(i + 1)}, {Key: "CI_NODE_TOTAL", Value: fmt.Sprint(n)}}
}

// matrix makes an instance of each combination.
func (j *jobReader) matrix(v *value) {
	if v.kind != list {
		j.wrong(v.at, "parallel:matrix is %s: it has to be a list of maps", v.describe())
		return
	}
	var all [][]Variable
	for _, item := range v.items {
		rows := [][]Variable{nil}
		j.each(item, "parallel:matrix", func(key string, at Position, v *value) {
			values := j.texts(v, "parallel:matrix:"+key)
			if !variableName.MatchString(key) || len(values) == 0 || len(rows)*len(values) > mostInstances {
				j.wrong(at, "parallel:matrix:%s: it takes names of variables with values, at most %d jobs in all", key, mostInstances)
				return
			}
			var next [][]Variable
			for _, row := range rows {
				for _, text := range values {
					next = append(next, append(slices.Clip(row), Variable{Key: key, Value: text}))
				}
			}
			rows = next
		})
		all = append(all, rows...)
	}
	if len(all) > mostInstances {
		j.wrong(v.at, "parallel:matrix makes %d jobs: at most %d", len(all), mostInstances)
		return
	}
	for i, row := range all {
		values := make([]string, len(row))
		for k, variable := range row {
			values[k] = variable.Value
		}
		j.job.Instances = append(j.job.Instances, Instance{": [" + strings.Join(values, ", ") + "]", append(row, node(i, len(all))...)})
	}
}
