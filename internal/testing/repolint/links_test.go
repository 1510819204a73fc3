package repolint

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	// pageLink is a link to a file of this repository, with the heading that it names, if any.
	pageLink = regexp.MustCompile(`\]\(([^)\s:#]*)(?:#([^)\s]+))?\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// unslugged is what the name of a heading in a link does not have.
	unslugged = regexp.MustCompile("[^a-z0-9 _-]")
	fence     = regexp.MustCompile("(?ms)^```.*?\n```")
)

var links = rule{
	name: "links in texts lead somewhere",
	check: func(t tree) (problems []string, checked int) {
		for _, f := range t.files {
			if path.Ext(f.path) != ".md" {
				continue
			}
			for _, link := range pageLink.FindAllStringSubmatch(fence.ReplaceAllString(f.text, ""), -1) {
				checked++
				if problem := t.follow(f, link[1], link[2]); problem != "" {
					problems = append(problems, fmt.Sprintf("%s: %s", f.path, problem))
				}
			}
		}
		return problems, checked
	},
	bad: map[string]string{
		"README.md": "[a](docs/a.md), [b](docs/b.md), [web](https://example.org/x), [h](#what-it-is), [folder](docs)\n\n## What `it` is\n",
		"docs/a.md": "[up](../README.md#what-it-is) [gone](../README.md#what-it-was)\n```\n[x](not/a/link)\n```\n[pic](a.svg)\n",
	},
	want: []string{"README.md: there is no docs/b.md", "docs/a.md: README.md has no heading #what-it-was", "docs/a.md: there is no docs/a.svg"},
}

// follow tells what is wrong with a link of a file; "" is nothing.
func (t tree) follow(from file, to, name string) string {
	target := from.path
	if to != "" {
		target = path.Join(path.Dir(from.path), to)
	}
	if slices.ContainsFunc(strings.Split(target, "/"), func(name string) bool { return slices.Contains(skipped, name) }) {
		return "" // which the tree does not have
	}
	page := t.find(target)
	if page == nil {
		for _, f := range t.files {
			if f.within(target) {
				return "" // a folder
			}
		}
		return "there is no " + target
	}
	if name == "" || path.Ext(target) != ".md" {
		return ""
	}
	for _, h := range heading.FindAllStringSubmatch(page.text, -1) {
		slug := strings.ReplaceAll(unslugged.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")
		if slug == name {
			return ""
		}
	}
	return fmt.Sprintf("%s has no heading #%s", target, name)
}
