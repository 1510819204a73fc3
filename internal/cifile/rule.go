package cifile

import (
	"regexp"
	"slices"
)

// rules reads a list of rules; a list in it, as a reference leaves one, is part of it.
func (r *reader) rules(v *value, what string) (rules []Rule) {
	if v.kind != list {
		r.wrong(v.at, "%s is %s: it has to be a list", what, v.describe())
		return nil
	}
	for _, item := range v.items {
		if item.kind == list {
			rules = append(rules, r.rules(item, what)...)
			continue
		}
		rules = append(rules, r.rule(item, what))
	}
	return rules
}

func (r *reader) rule(v *value, what string) Rule {
	rule := Rule{At: v.at}
	r.each(v, what, func(key string, at Position, v *value) {
		sub := what + ":" + key
		switch key {
		case "if":
			rule.condition = r.expression(v, sub)
		case "exists":
			if v.kind == dict {
				rule.unsupported = problem(at, "%s with paths and project is not supported here: a list of files is", sub)
				return
			}
			rule.Exists = r.texts(v, sub)
		case "when":
			if v.text == "delayed" {
				rule.unsupported = problem(at, "%s: delayed is not supported here", sub)
				return
			}
			rule.When = When(r.choice(v, sub, string(OnSuccess), string(OnFailure), string(Always), string(Manual), string(Never)))
		case "allow_failure":
			allow := r.boolean(v, sub)
			rule.AllowFailure = &allow
		case "variables":
			rule.Variables = r.variables(v, sub)
		case "interruptible": // there is one pipeline
		case "changes":
			rule.unsupported = problem(at, "%s is not supported here: there is nothing that changes are counted from", sub)
		case "needs", "auto_cancel", "start_in":
			rule.unsupported = problem(at, "%s is not supported here", sub)
		default:
			r.wrong(at, "%s has the key %q, which is none of its keys", what, key)
		}
	})
	return rule
}

func (r *reader) expression(v *value, what string) expression {
	e, err := parseExpression(r.text(v, what))
	if err != nil {
		r.wrong(v.at, "%s: %v", what, err)
	}
	return e
}

// refs reads only or except.
func (j *jobReader) refs(f field, what string) *Refs {
	refs := &Refs{At: f.at}
	if f.value.kind != dict {
		refs.Refs = j.refNames(f.value, what)
		return refs
	}
	j.each(f.value, what, func(key string, at Position, v *value) {
		switch key {
		case "refs":
			refs.Refs = j.refNames(v, what+":refs")
		case "variables":
			for _, text := range j.texts(v, what+":variables") {
				e, err := parseExpression(text)
				if err != nil {
					j.wrong(v.at, "%s:variables: %v", what, err)
				}
				refs.conditions = append(refs.conditions, e)
			}
		case "changes", "kubernetes":
			refs.unsupported = problem(at, "%s:%s is not supported here", what, key)
		default:
			j.wrong(at, "%s has the key %q: it may have refs and variables", what, key)
		}
	})
	return refs
}

func (j *jobReader) refNames(v *value, what string) []string {
	names := j.texts(v, what)
	for _, name := range names {
		if pattern, is := literalPattern(name); is {
			if _, err := regexp.Compile(pattern); err != nil {
				j.wrong(v.at, "%s: %s is no pattern", what, name)
			}
		}
	}
	return names
}

// sources are the words of only for what has begun a pipeline, in the words of
// CI_PIPELINE_SOURCE.
var sources = map[string]string{
	"api": "api", "chat": "chat", "external": "external", "external_pull_requests": "external_pull_request_event",
	"merge_requests": "merge_request_event", "pipelines": "pipeline", "pushes": "push", "schedules": "schedule",
	"triggers": "trigger", "web": "web",
}

// matches tells whether the run is one of those that only, or except, names. With all it
// has to be so by refs and by variables, as only has it.
func (refs *Refs) matches(e environment, all bool) (bool, error) {
	if refs.unsupported != nil {
		return false, refs.unsupported
	}
	byRef := slices.ContainsFunc(refs.Refs, e.isRef)
	byVariables := false
	for _, condition := range refs.conditions {
		met, err := holds(condition, e)
		if err != nil {
			return false, problem(refs.At, "%v", err)
		}
		byVariables = byVariables || met
	}
	if all {
		return (len(refs.Refs) == 0 || byRef) && (len(refs.conditions) == 0 || byVariables), nil
	}
	return byRef || byVariables, nil
}

// isRef tells whether a word of only means this run.
func (e environment) isRef(word string) bool {
	source, branch, tag := e.text("CI_PIPELINE_SOURCE"), e.text("CI_COMMIT_BRANCH"), e.text("CI_COMMIT_TAG")
	if s, is := sources[word]; is {
		return s == source
	}
	switch word {
	case "branches":
		return branch != ""
	case "tags":
		return tag != ""
	}
	ref := e.text("CI_COMMIT_REF_NAME")
	if pattern, is := literalPattern(word); is {
		matched, err := regexp.MatchString(pattern, ref)
		return err == nil && matched
	}
	return word == ref
}
