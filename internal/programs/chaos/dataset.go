package main

import (
	"fmt"
	"path"
	"strings"
)

// The resources that there may be. They are few, so that all are created, changed,
// deleted and created again many times.
const (
	singles      = 24 // files changed one by one, and moved
	groups       = 3  // of files that are changed by one statement
	groupSize    = 15
	projects     = 2 // of files that a deleted project takes along
	projectSize  = 6
	flips        = 2 // places that are now a file, now a folder
	repositories = 4

	flipFolder = "flips"
	flipInside = "inside"
)

func single(i int) string         { return fmt.Sprintf("singles/%d/file %02d", i%4, i) }
func grouped(g, i int) string     { return fmt.Sprintf("groups/%d/%02d", g, i) }
func ofProject(p, i int) string   { return fmt.Sprintf("projects/%d/%02d", p, i) }
func flip(i int) string           { return fmt.Sprintf("%s/%d", flipFolder, i) }
func insideFlip(i int) string     { return flip(i) + "/" + flipInside }
func repositoryPath(i int) string { return fmt.Sprintf("team/%d.git", i) }
func groupPaths(g int) []string {
	return collect(groupSize, func(i int) string { return grouped(g, i) })
}
func projectPaths(p int) []string {
	return collect(projectSize, func(i int) string { return ofProject(p, i) })
}
func isFlip(filePath string) bool    { return strings.HasPrefix(filePath, flipFolder+"/") }
func repositoryUnit(p string) string { return "repository " + p }

func collect(n int, f func(int) string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = f(i)
	}
	return all
}

// allFiles are the paths of all files that there may be.
func allFiles() []string {
	all := collect(singles, single)
	for g := range groups {
		all = append(all, groupPaths(g)...)
	}
	for p := range projects {
		all = append(all, projectPaths(p)...)
	}
	for i := range flips {
		all = append(all, flip(i), insideFlip(i))
	}
	return all
}

func allRepositories() []string { return collect(repositories, repositoryPath) }

// unit is what is locked for a file: what is now a file and now a folder is
// one.
func unit(file string) string {
	if isFlip(file) && path.Base(file) == flipInside {
		return path.Dir(file)
	}
	return file
}
