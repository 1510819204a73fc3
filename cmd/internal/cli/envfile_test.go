package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fileEnv is an environment of some variables, and a folder of credentials.
func fileEnv(values map[string]string, credentials string) *Env {
	return newEnv(func(name string) string { return values[name] }, credentials)
}

func writeFile(t *testing.T, file, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestValuesComeFromFiles(t *testing.T) {
	t.Parallel()
	const url = "postgres://casq:se cret@localhost/casq"
	dir, credentials := t.TempDir(), t.TempDir()
	for content, want := range map[string]string{
		url: url, url + "\n": url, url + "\r\n": url, url + " \n": url + " ",
	} {
		e := fileEnv(map[string]string{"A_URL_FILE": writeFile(t, filepath.Join(dir, "a"), content, 0o600)}, credentials)
		if got := e.String("A_URL"); got != want || e.Err() != nil || len(e.Warnings()) > 0 {
			t.Errorf("%q is %q, %v, %q; want %q", content, got, e.Err(), e.Warnings(), want)
		}
		// Where its service has such a credential, no variable is needed.
		writeFile(t, filepath.Join(credentials, "B_URL"), content, 0o400)
		if got := e.String("B_URL"); got != want || e.Err() != nil {
			t.Errorf("the credential %q is %q, %v; want %q", content, got, e.Err(), want)
		}
		if err := os.Remove(filepath.Join(credentials, "B_URL")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsWrongWithAFileIsTold(t *testing.T) {
	t.Parallel()
	dir, credentials := t.TempDir(), t.TempDir()
	secret := writeFile(t, filepath.Join(dir, "secret"), "postgres://casq:secret@h/d", 0o600)
	writeFile(t, filepath.Join(credentials, "C_URL"), "postgres://casq:secret@h/d", 0o400)
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		values map[string]string
		want   string
	}{
		"both":                {map[string]string{"A_URL": "x", "A_URL_FILE": secret}, "A_URL and A_URL_FILE are set: want one of them"},
		"a credential, too":   {map[string]string{"C_URL": "x"}, "C_URL and the credential C_URL are set"},
		"two files":           {map[string]string{"C_URL_FILE": secret}, "C_URL_FILE and the credential C_URL are set"},
		"not there":           {map[string]string{"A_URL_FILE": dir + "/none"}, "read A_URL_FILE: stat " + dir + "/none: no such file"},
		"a folder":            {map[string]string{"A_URL_FILE": dir}, "read A_URL_FILE: " + dir + " is no regular file"},
		"nobody writes it":    {map[string]string{"A_URL_FILE": fifo}, "is no regular file"},
		"empty":               {map[string]string{"A_URL_FILE": writeFile(t, dir+"/empty", "\n", 0o600)}, "is empty"},
		"two lines":           {map[string]string{"A_URL_FILE": writeFile(t, dir+"/two", "secret\nanother\n", 0o600)}, "has more than one line"},
		"a zero byte":         {map[string]string{"A_URL_FILE": writeFile(t, dir+"/zero", "secret\x00", 0o600)}, "has more than one line"},
		"something else":      {map[string]string{"A_URL_FILE": writeFile(t, dir+"/large", strings.Repeat("secret", 20_000), 0o600)}, "has 120000 bytes"},
		"below no folder":     {map[string]string{"A_URL_FILE": secret + "/x"}, "not a directory"},
		"wrong, and not told": {map[string]string{"A_URL_FILE": writeFile(t, dir+"/wrong", "mysql://casq:secret@h/d", 0o600)}, `A_URL is "mysql://casq:xxxxx@h/d"`},
	} {
		e := fileEnv(c.values, credentials)
		e.Require("A_URL", "x")
		e.Database("A_URL")
		e.Database("C_URL")
		err := e.Err()
		if err == nil || strings.Count(err.Error(), c.want) != 1 || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}

func TestAFileThatEverybodyMayReadIsSaid(t *testing.T) {
	t.Parallel()
	file := writeFile(t, filepath.Join(t.TempDir(), "open"), "redis://:secret@h", 0o644)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	e := fileEnv(map[string]string{"A_URL_FILE": file}, "")
	e.Redis("A_URL")
	e.Redis("A_URL")
	if w := e.Warnings(); len(w) != 1 || w[0] != "A_URL_FILE: everybody may read "+file+": chmod o= "+file || e.Err() != nil {
		t.Errorf("says %q, %v", w, e.Err())
	}
}

// Of a path the credential is the file, and the variable may name it, too.
func TestPathIsACredential(t *testing.T) {
	t.Parallel()
	credentials := t.TempDir()
	file := writeFile(t, filepath.Join(credentials, "A_KEY"), "one\ntwo\n", 0o400)
	for value, want := range map[string]string{"": file, file: file, "/elsewhere": "/elsewhere"} {
		e := fileEnv(map[string]string{"A_KEY": value}, credentials)
		if got := e.Path("A_KEY"); got != want || e.Err() != nil {
			t.Errorf("%q is %q, %v; want %q", value, got, e.Err(), want)
		}
	}
}
