package cifile

import (
	"maps"
	"slices"
	"strings"
)

// defaults are the keys that default may have, and the older of them the file itself.
var defaults = []string{
	"after_script", "artifacts", "before_script", "cache", "image", "interruptible", "retry", "services", "tags", "timeout",
	"hooks", "id_tokens", "identity",
}

var globals = []string{
	"stages", "variables", "default", "workflow", "include", "image", "services", "cache", "before_script", "after_script",
	"spec", "types",
}

func isGlobal(name string) bool { return slices.Contains(globals, name) }

// hidden tells whether a job is only there for others to extend.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

const (
	firstStage = ".pre"
	lastStage  = ".post"
	// mostJobs bounds the jobs of a file, with those that parallel makes.
	mostJobs = 1000
	// longestName is what a build's name may have, in bytes.
	longestName = 255
)

// resolveAll resolves the references in all but hidden jobs, where they may be incomplete.
func (s resolver) resolveAll() *value {
	whole := newDict(s.root.at)
	for _, name := range s.root.keys {
		f := s.root.of[name]
		if hidden(name) {
			continue
		}
		if f.value = s.resolve(f.value, 0); f.value == nil {
			return nil
		}
		whole.set(name, f)
	}
	return whole
}

// file reads what a file says, when nothing is left to be resolved.
func (r *reader) file(root *value) *File {
	f := &File{Stages: r.stages(root)}
	for _, name := range []string{"spec", "types"} {
		if field, there := root.of[name]; there {
			r.wrong(field.at, "%s is not supported", name)
		}
	}
	if v := root.get("variables"); v != nil {
		f.Variables = r.variables(v, "variables")
	}
	if v := root.get("workflow"); v != nil {
		r.each(v, "workflow", func(key string, at Position, v *value) {
			switch key {
			case "rules":
				f.Workflow = r.rules(v, "workflow:rules")
			case "name", "auto_cancel": // of the pipeline as people see it, and of pipelines that go before
			default:
				r.wrong(at, "workflow:%s is not supported", key)
			}
		})
	}
	base := r.base(root)
	for _, name := range root.keys {
		if isGlobal(name) {
			continue
		}
		field := root.of[name]
		if field.value.kind != dict {
			r.wrong(field.at, "%q is no key of a CI file, and no job: a job is a map", name)
			continue
		}
		f.Jobs = append(f.Jobs, r.job(name, field, base, f))
	}
	if len(f.Jobs) == 0 {
		r.wrong(root.at, "the file has no jobs")
	}
	return f
}

// base has what jobs have that do not say it themselves.
func (r *reader) base(root *value) *value {
	base := newDict(root.at)
	for _, key := range defaults {
		if isGlobal(key) && root.get(key) != nil {
			base.set(key, root.of[key])
		}
	}
	if v := root.get("default"); v != nil {
		r.each(v, "default", func(key string, at Position, v *value) {
			if !slices.Contains(defaults, key) {
				r.wrong(at, "default:%s is not supported", key)
			}
			base.set(key, field{at, v})
		})
	}
	return base
}

func (r *reader) stages(root *value) []string {
	stages := []string{"build", "test", "deploy"}
	if v := root.get("stages"); v != nil {
		stages = r.texts(v, "stages")
	}
	stages = slices.DeleteFunc(stages, func(s string) bool { return s == firstStage || s == lastStage })
	for _, s := range stages {
		if s == "" || len(s) > longestName {
			r.wrong(root.of["stages"].at, "stages has one whose name has not 1 to %d bytes", longestName)
		}
	}
	return append([]string{firstStage}, append(stages, lastStage)...)
}

// jobReader reads one job.
type jobReader struct {
	*reader
	job *Job
	// scripts are the parts of the script.
	before, main []string
	whole        *value
}

// unsupported notes what is known, and keeps a job from being run here.
func (j *jobReader) unsupported(at Position, format string, args ...any) {
	j.job.unsupported = append(j.job.unsupported, problem(at, format, args...))
}

// job reads a job with what it inherits.
func (r *reader) job(name string, f field, base *value, file *File) *Job {
	job := &Job{Name: name, Stage: "test", At: f.at, When: OnSuccess}
	j := &jobReader{reader: r, job: job}
	if name == "" || len(name) > longestName-20 {
		r.wrong(f.at, "the name of a job has 1 to %d bytes", longestName-20)
	}
	own, inherited := f.value, base
	variables := file.Variables
	if v := own.get("inherit"); v != nil {
		inherited, variables = j.inherit(v, base, variables)
	}
	job.inherited = variables
	whole := newDict(f.at)
	for _, key := range inherited.keys {
		whole.set(key, inherited.of[key])
	}
	for _, key := range own.keys {
		whole.set(key, own.of[key])
	}
	j.whole = whole
	for _, key := range whole.keys {
		j.key(key, whole.of[key])
	}
	j.finish(file)
	return job
}

// inherit is what a job takes of the defaults and of the variables of all.
func (j *jobReader) inherit(v *value, base *value, variables []Variable) (*value, []Variable) {
	pick := func(v *value, what string, keep func(name string) bool) func(name string) bool {
		if v.kind == scalar {
			all := j.boolean(v, what)
			return func(string) bool { return all && keep("") }
		}
		names := j.texts(v, what)
		return func(name string) bool { return slices.Contains(names, name) }
	}
	j.each(v, "inherit", func(key string, at Position, v *value) {
		keeps := pick(v, "inherit:"+key, func(string) bool { return true })
		switch key {
		case "default":
			kept := newDict(base.at)
			for _, k := range base.keys {
				if keeps(k) {
					kept.set(k, base.of[k])
				}
			}
			base = kept
		case "variables":
			variables = slices.DeleteFunc(slices.Clone(variables), func(v Variable) bool { return !keeps(v.Key) })
		default:
			j.wrong(at, "inherit:%s is not supported: inherit:default and inherit:variables are", key)
		}
	})
	return base, variables
}

// withoutEffect are keys that change nothing of a run by itself: what they say is for
// whoever shows pipelines, or for other pipelines.
var withoutEffect = []string{"interruptible", "coverage", "inherit"}

// known are keys of CI files that are not supported, with what to do.
var known = map[string]string{ //nolint:gosec // names of keys, and no secrets
	"dast_configuration":  "",
	"environment":         "deployments are recorded by GitLab",
	"hooks":               "",
	"id_tokens":           "they are signed by GitLab",
	"identity":            "",
	"inputs":              "",
	"manual_confirmation": "",
	"pages":               "pages are published by GitLab",
	"publish":             "pages are published by GitLab",
	"release":             "releases are made by GitLab",
	"resource_group":      "",
	"run":                 "",
	"secrets":             "give them by --env-file",
	"start_in":            "a delayed job is started by GitLab",
	"trigger":             "other pipelines are started by GitLab",
}

// key reads a key of a job.
func (j *jobReader) key(key string, f field) {
	if read, there := keys[key]; there {
		if f.value.kind == null {
			return // as if it were not there
		}
		read(j, f)
		return
	}
	if slices.Contains(withoutEffect, key) {
		return
	}
	why, is := known[key]
	switch {
	case is && why != "":
		j.unsupported(f.at, "%s: %s is not supported here: %s", j.job.Name, key, why)
	case is:
		j.unsupported(f.at, "%s: %s is not supported here", j.job.Name, key)
	default:
		j.wrong(f.at, "%s: %q is no key of a job", j.job.Name, key)
	}
}

// keys are the keys of a job that are supported.
var keys map[string]func(j *jobReader, f field)

func init() { // it would be a cycle: a job's rules have keys of a job
	keys = map[string]func(j *jobReader, f field){
		"stage":         func(j *jobReader, f field) { j.job.Stage = j.text(f.value, "stage") },
		"before_script": func(j *jobReader, f field) { j.before = j.script(f.value, "before_script") },
		"script":        func(j *jobReader, f field) { j.main = j.script(f.value, "script") },
		"after_script":  func(j *jobReader, f field) { j.job.AfterScript = j.script(f.value, "after_script") },
		"variables":     func(j *jobReader, f field) { j.job.own = j.variables(f.value, "variables") },
		"image":         func(j *jobReader, f field) { j.job.Image = j.image(f, "image") },
		"services":      (*jobReader).services,
		"tags":          func(j *jobReader, f field) { j.job.Tags = j.texts(f.value, "tags") },
		"artifacts":     (*jobReader).artifacts,
		"cache":         (*jobReader).caches,
		"timeout":       func(j *jobReader, f field) { j.job.Timeout = j.duration(f.value, "timeout") },
		"retry":         (*jobReader).retry,
		"parallel":      (*jobReader).parallel,
		"when":          (*jobReader).when,
		"allow_failure": (*jobReader).allowFailure,
		"needs":         (*jobReader).needs,
		"dependencies": func(j *jobReader, f field) {
			j.job.HasDependencies, j.job.Dependencies = true, j.texts(f.value, "dependencies")
		},
		"rules":  func(j *jobReader, f field) { j.job.hasRules, j.job.Rules = true, j.rules(f.value, "rules") },
		"only":   func(j *jobReader, f field) { j.job.Only = j.refs(f, "only") },
		"except": func(j *jobReader, f field) { j.job.Except = j.refs(f, "except") },
	}
}

// finish checks what takes more than one key.
func (j *jobReader) finish(file *File) {
	job := j.job
	job.Script = slices.Concat(j.before, j.main)
	switch {
	case j.whole.get("trigger") != nil || j.whole.get("run") != nil: // not supported, and said
	case len(j.main) == 0:
		j.wrong(job.At, "%s has no script", job.Name)
	}
	if !slices.Contains(file.Stages, job.Stage) {
		j.wrong(job.At, "%s is of stage %q, which is none of %s", job.Name, job.Stage, strings.Join(file.Stages, ", "))
	}
	if job.hasRules && (job.Only != nil || job.Except != nil) {
		j.wrong(job.At, "%s has rules, and only or except: it may have one of them", job.Name)
	}
	// A manual job stops nobody, unless it says so; with rules it is the other way round.
	if j.whole.get("allow_failure") == nil && job.When == Manual {
		job.AllowFailure.Any = true
	}
}

// override returns variables with others over them, in the order in which they come.
func override(variables, over []Variable) []Variable {
	variables = slices.Clone(variables)
	for _, v := range over {
		at := slices.IndexFunc(variables, func(u Variable) bool { return u.Key == v.Key })
		if at < 0 {
			variables = append(variables, v)
			continue
		}
		variables[at] = v
	}
	return variables
}

var knownReports = slices.Sorted(maps.Keys(reportTypes))
