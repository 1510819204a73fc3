package cifile

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"casq/internal/span"
)

func (j *jobReader) artifacts(f field) {
	archive := Artifacts{Type: "archive", Format: "zip"}
	var reports []Artifacts
	j.job.Artifacts = nil
	j.each(f.value, "artifacts", func(key string, at Position, v *value) {
		what := "artifacts:" + key
		switch key {
		case "paths":
			archive.Paths = j.texts(v, what)
		case "exclude":
			archive.Exclude = j.texts(v, what)
		case "name":
			archive.Name = j.text(v, what)
		case "untracked":
			archive.Untracked = j.boolean(v, what)
		case "when":
			archive.When = j.choice(v, what, "on_success", "on_failure", "always")
		case "expire_in":
			archive.ExpireIn = j.expiry(v, what)
		case "reports":
			j.each(v, what, func(key string, at Position, v *value) { reports = append(reports, j.report(key, at, v)...) })
		case "public", "access", "expose_as": // who may see them in GitLab
		default:
			j.wrong(at, "%s: artifacts has the key %q, which is none of its keys", j.job.Name, key)
		}
	})
	if len(archive.Paths) > 0 || archive.Untracked {
		j.job.Artifacts = append(j.job.Artifacts, archive)
	}
	for _, report := range reports {
		report.ExpireIn = archive.ExpireIn
		j.job.Artifacts = append(j.job.Artifacts, report)
	}
}

func (j *jobReader) expiry(v *value, what string) string {
	text := j.text(v, what)
	if _, err := span.Parse(text); err != nil && text != "never" {
		j.wrong(v.at, "%s is %s: it has to be a time such as 1 week, or never", what, v.describe())
	}
	return text
}

// reportTypes are the reports that GitLab only shows, with the names of their files.
var reportTypes = map[string]string{
	"accessibility": "gl-accessibility.json", "annotations": "gl-annotations.json",
	"api_fuzzing": "gl-api-fuzzing-report.json", "browser_performance": "browser-performance.json",
	"codequality": "gl-code-quality-report.json", "container_scanning": "gl-container-scanning-report.json",
	"coverage_fuzzing": "gl-coverage-fuzzing.json", "cyclonedx": "gl-sbom.cdx.json", "dast": "gl-dast-report.json",
	"dependency_scanning": "gl-dependency-scanning-report.json", "junit": "junit.xml",
	"load_performance": "load-performance.json", "metrics": "metrics.txt", "performance": "performance.json",
	"requirements": "requirements.json", "sast": "gl-sast-report.json", "secret_detection": "gl-secret-detection-report.json",
	"terraform": "tfplan.json",
}

// report is what a runner sends of a report.
func (j *jobReader) report(key string, at Position, v *value) []Artifacts {
	if key == "coverage_report" {
		return j.coverage(v)
	}
	name, there := reportTypes[key]
	switch {
	case key == "dotenv":
		j.unsupported(at, "%s: artifacts:reports:dotenv is not supported here: hand a file on by artifacts:paths, and source it", j.job.Name)
	case !there:
		j.wrong(at, "%s: artifacts:reports has %q: it may have %s", j.job.Name, key, strings.Join(knownReports, ", "))
	default:
		return []Artifacts{{Name: name, Type: key, Format: "gzip", Paths: j.texts(v, "artifacts:reports:"+key), When: "always"}}
	}
	return nil
}

func (j *jobReader) coverage(v *value) []Artifacts {
	report := Artifacts{Type: "cobertura", Format: "gzip", Name: "coverage.xml", When: "always"}
	j.each(v, "artifacts:reports:coverage_report", func(key string, at Position, v *value) {
		switch key {
		case "coverage_format":
			report.Type = j.choice(v, "coverage_format", "cobertura", "jacoco")
		case "path":
			report.Paths = j.texts(v, "coverage_report:path")
		default:
			j.wrong(at, "%s: coverage_report has the key %q: it may have coverage_format and path", j.job.Name, key)
		}
	})
	return []Artifacts{report}
}

func (j *jobReader) caches(f field) {
	items := []*value{f.value}
	if f.value.kind == list {
		items = f.value.items
	}
	j.job.Caches = nil
	for _, item := range items {
		cache := Cache{Key: "default", Policy: "pull-push", When: "on_success"}
		j.each(item, "cache", func(key string, at Position, v *value) { j.cache(&cache, key, at, v) })
		if len(cache.Paths) > 0 || cache.Untracked {
			j.job.Caches = append(j.job.Caches, cache)
		}
	}
}

func (j *jobReader) cache(cache *Cache, key string, at Position, v *value) {
	what := "cache:" + key
	switch key {
	case "paths":
		cache.Paths = j.texts(v, what)
	case "untracked":
		cache.Untracked = j.boolean(v, what)
	case "policy":
		cache.Policy = j.text(v, what)
		if !strings.Contains(cache.Policy, "$") {
			j.choice(v, what, "pull-push", "pull", "push")
		}
	case "when":
		cache.When = j.choice(v, what, "on_success", "on_failure", "always")
	case "fallback_keys":
		cache.FallbackKeys = j.texts(v, what)
	case "unprotect": // there are no protected branches here
	case "key":
		if cache.Key = j.cacheKey(v); cache.Key == "" {
			cache.Key = "default"
		}
	default:
		j.wrong(at, "%s: %q is no key of cache", j.job.Name, key)
	}
}

// cacheKey is a text, or made of files: another for another content of theirs.
func (j *jobReader) cacheKey(v *value) string {
	if v.kind != dict {
		return j.text(v, "cache:key")
	}
	prefix, sum := "", "default"
	j.each(v, "cache:key", func(key string, at Position, v *value) {
		switch key {
		case "prefix":
			prefix = j.text(v, "cache:key:prefix") + "-"
		case "files":
			sum = j.filesKey(j.texts(v, "cache:key:files"))
		default:
			j.unsupported(at, "%s: cache:key:%s is not supported here", j.job.Name, key)
		}
	})
	return prefix + sum
}

func (j *jobReader) filesKey(names []string) string {
	hash := sha256.New()
	found := false
	for _, name := range slices.Sorted(slices.Values(names)) {
		text, err := j.files.read(strings.TrimPrefix(name, "./"))
		if err != nil {
			continue // GitLab takes those that are there
		}
		found = true
		hash.Write(text)
	}
	if !found {
		return "default"
	}
	return hex.EncodeToString(hash.Sum(nil)[:20])
}
