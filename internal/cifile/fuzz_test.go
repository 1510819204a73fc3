package cifile_test

import (
	"errors"
	"testing"

	"casq/internal/cifile"
)

// Whatever a file has, there is an answer, and each problem of the file has its line.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		stagesText, "a: &a\n  script: [*a]", "include: .gitlab-ci.yml", "a: {script: [!reference [a, script]]}",
		"a:\n  script: b\n  rules:\n    - if: $A =~ /b/ && ($C == null || 'd')\n  parallel: {matrix: [{A: [1, 2]}]}",
		"a: {<<: [{script: a}, {when: manual}], extends: .b, cache: {key: {files: [x]}, paths: [y]}}\n.b: {needs: [a]}",
		"\x00", "a: !!binary x", "? [a]\n: b", "workflow: {rules: [{exists: ['**/*']}]}\na: {script: a, retry: {max: 2, when: [always]}}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files := folder(text)
		file, err := cifile.Read(files, ciFile)
		if err != nil {
			lined(t, err)
			return
		}
		if _, err := file.Plan(cifile.Options{Predefined: onMain(), Files: files}); err != nil && !errors.Is(err, cifile.ErrNoJobs) {
			lined(t, err)
		}
	})
}

// lined looks for the lines of problems, but for those beyond what is told.
func lined(t *testing.T, err error) {
	t.Helper()
	found, is := errors.AsType[*cifile.LineError](err)
	if !is || found.At.Line < 1 || found.At.File == "" || found.Text == "" {
		t.Errorf("a problem has no line: %v", err)
	}
}
