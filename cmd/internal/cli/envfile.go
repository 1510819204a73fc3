package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// largestValue bounds what is taken in of a file. The longest URL of all is shorter.
const largestValue = 64 << 10

// environment is where the values of variables come from: the variable itself, the
// file that NAME_FILE names, or the credential NAME that systemd has put into a folder.
// A file keeps a password out of what shows the environment of a process: /proc, the
// service manager, a container's description.
type environment struct {
	get func(name string) string
	// credentials is the folder that systemd's LoadCredential fills; "": none.
	credentials string
	known       map[string]string // by name: each file is read once
	errs        []error
	warnings    []string
}

// value returns the variable's value, "" where it is not set. What is wrong with its
// file is kept for [Env.Err].
func (e *environment) value(name string) string {
	if value, known := e.known[name]; known {
		return value
	}
	value, err := e.read(name)
	if err != nil {
		e.errs = append(e.errs, err)
	}
	e.known[name] = value
	return value
}

// path is what the variable itself says, else where the credential of its name is.
func (e *environment) path(name string) string {
	value := e.get(name)
	if file := filepath.Join(e.credentials, name); value == "" && e.credentials != "" && exists(file) {
		return file
	}
	return value
}

func (e *environment) read(name string) (string, error) {
	value := e.get(name)
	places := map[string]string{} // path by what says it
	if file := e.get(name + "_FILE"); file != "" {
		places[name+"_FILE"] = file
	}
	if e.credentials != "" {
		if file := filepath.Join(e.credentials, name); exists(file) {
			places["the credential "+name] = file
		}
	}
	var said []string
	if value != "" {
		said = append(said, name)
	}
	for _, by := range []string{name + "_FILE", "the credential " + name} {
		if places[by] != "" {
			said = append(said, by)
		}
	}
	switch {
	case len(said) > 1:
		return "", fmt.Errorf("%s are set: want one of them", strings.Join(said, " and "))
	case len(places) == 0:
		return value, nil
	}
	value, warning, err := readValue(places[said[0]])
	if err != nil {
		return "", fmt.Errorf("read %s: %w", said[0], err)
	}
	if warning != "" {
		e.warnings = append(e.warnings, said[0]+": "+warning)
	}
	return value, nil
}

// exists is true also where it cannot be told: reading the file says why.
func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, os.ErrNotExist)
}

// readValue returns a file's only line, and what is unwise about the file.
func readValue(file string) (value, warning string, err error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", "", err
	case !info.Mode().IsRegular():
		return "", "", fmt.Errorf("%s is no regular file", file)
	case info.Size() > largestValue:
		return "", "", fmt.Errorf("%s has %d bytes: a value has %d at most", file, info.Size(), largestValue)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case value == "":
		return "", "", fmt.Errorf("%s is empty", file)
	case strings.ContainsAny(value, "\n\r\x00"):
		return "", "", fmt.Errorf("%s has more than one line", file)
	}
	if info.Mode().Perm()&0o007 != 0 {
		warning = fmt.Sprintf("everybody may read %s: chmod o= %[1]s", file)
	}
	return value, warning, nil
}
