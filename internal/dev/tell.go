package dev

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/template"
)

// exports are for a shell: those who know no home and no source of their own
// work on the primary and read its log from the standby.
const exports = `export DATABASE_URL={{.Primary}}
export SOURCE_DATABASE_URL={{.Standby}}
export REDIS_URL={{.Redis}}
`

const told = `casq's servers for development are up. Their data are in {{.Dir}}

In another terminal, paste this, or say: . {{.Env}}

` + exports + `
To connect by hand:

  psql {{.Primary}}   # the primary
  psql {{.Standby}}   # its standby, read only
  redis-cli -u {{.Redis}}

Ctrl-C stops them; the data stay. To begin anew, remove the folder.
`

var (
	exportsTemplate = template.Must(template.New("exports").Parse(exports))
	toldTemplate    = template.Must(template.New("told").Parse(told))
)

// tell leaves the exports in a file, and says how to connect. Whoever finds
// the file finds everything up.
func (s *site) tell(out io.Writer) error {
	values := map[string]string{
		"Dir":     s.dir,
		"Env":     quote(s.path(envFile)),
		"Primary": quote(s.Primary.URL(Database)),
		"Standby": quote(s.Standbys[0].URL(Database)),
		"Redis":   quote(named(s.Redis.URL())),
	}
	var file strings.Builder
	if err := exportsTemplate.Execute(&file, values); err != nil {
		return fmt.Errorf("write %s: %w", s.path(envFile), err)
	}
	// It holds passwords.
	fresh := s.path(envFile) + ".new"
	err := os.WriteFile(fresh, []byte(file.String()), 0o600)
	if err == nil {
		err = os.Rename(fresh, s.path(envFile))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.path(envFile), err)
	}
	if err := toldTemplate.Execute(out, values); err != nil {
		return fmt.Errorf("tell how to connect: %w", err)
	}
	return nil
}

// named adds the name of Redis's own user to a URL with a password: redis-cli
// takes one without a name for that of the user "".
func named(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	if password, set := u.User.Password(); set && u.User.Username() == "" {
		u.User = url.UserPassword("default", password)
	}
	return u.String()
}

// quote makes one word of a shell's of any text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
