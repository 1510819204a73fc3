package git

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"casq/transfer"
	"casq/transfer/folder"
)

// keyPlaceholder is what a template has where the repository's path goes.
const keyPlaceholder = "{key}"

// template makes the address of a repository's source.
type template struct {
	// folder is where a local source's repositories are; nil for a URL.
	folder *folder.Root
	// Around the path: parts of a URL, or of a path below folder.
	before, after string
	// login is what the URL had in front of its host.
	login *login
}

// login is a user and a password. They are secrets, both: some servers take a token
// for the user. Git is told neither in its command line, which every user of the machine
// can see, nor in the address, which is in its messages.
type login struct {
	origin string // scheme and host; no other is told
	text   string // as git's credential helpers say it
}

// takeLogin takes user and password out of an address.
func takeLogin(address *url.URL) (*login, error) {
	user := address.User
	if user == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	password, has := user.Password()
	switch {
	case address.Scheme == "ssh" && has:
		return nil, errors.New("has a password, which ssh does not take; use a key")
	case address.Scheme == "ssh":
		return nil, nil //nolint:nilnil // the user of an ssh address is no secret
	case strings.IndexFunc(user.Username()+password, transfer.IsControl) >= 0:
		return nil, errors.New("has a control character in its user or password")
	}
	address.User = nil
	l := &login{origin: address.Scheme + "://" + address.Host, text: "username=" + user.Username() + "\n"}
	if has {
		l.text += "password=" + password + "\n"
	}
	return l, nil
}

var (
	remoteHelper = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)
	schemeName   = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
)

// parseTemplate checks a source's address. What it lets through can become
// neither an option nor a remote helper of git.
func parseTemplate(address string, allowed []string, log *slog.Logger) (*template, error) {
	switch {
	case address == "":
		return nil, errors.New("no URL template and no folder given")
	case strings.HasPrefix(address, "-"):
		return nil, errors.New("begins with a dash, which git would take for an option")
	case remoteHelper.MatchString(address):
		return nil, errors.New("names a git remote helper (ext:: and the like), which is never allowed")
	case strings.IndexFunc(address, transfer.IsControl) >= 0:
		return nil, errors.New("has a control character")
	case strings.Count(address, keyPlaceholder) > 1:
		return nil, fmt.Errorf("has %s more than once", keyPlaceholder)
	}
	scheme, rest, isURL := strings.Cut(address, "://")
	if !isURL {
		if colon, slash := strings.Index(address, ":"), strings.Index(address, "/"); colon >= 0 && (slash < 0 || colon < slash) {
			return nil, errors.New("is in the short form of ssh; write ssh://user@host/path/" + keyPlaceholder)
		}
		scheme = "file"
	}
	if !schemeName.MatchString(scheme) || !slices.Contains(allowed, scheme) {
		return nil, fmt.Errorf("protocol %q is not allowed; allowed are %s", scheme, strings.Join(allowed, ", "))
	}
	if scheme == "file" {
		return folderTemplate(address, log)
	}
	return urlTemplate(address, rest)
}

func folderTemplate(address string, log *slog.Logger) (*template, error) {
	before, after, found := strings.Cut(address, keyPlaceholder)
	if found && !strings.HasSuffix(before, "/") {
		return nil, fmt.Errorf("%s has to follow a slash, so that the folder is fixed", keyPlaceholder)
	}
	if after != "" {
		if why := transfer.BadPath("x" + after); why != "" {
			return nil, fmt.Errorf("what follows %s %s", keyPlaceholder, why)
		}
	}
	opened, err := folder.OpenSource(before, log)
	if err != nil {
		return nil, err
	}
	return &template{folder: opened, after: after}, nil
}

func urlTemplate(address, rest string) (*template, error) {
	before, after, found := strings.Cut(address, keyPlaceholder)
	host, _, hasPath := strings.Cut(rest, "/")
	if !found || !hasPath || strings.Contains(host, keyPlaceholder) {
		return nil, fmt.Errorf("needs %s once, in its path", keyPlaceholder)
	}
	if strings.ContainsAny(address, "?#") {
		return nil, errors.New("has a query or a fragment, which git does not use")
	}
	parsed, err := url.Parse(before)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if parsed.Hostname() == "" || strings.HasPrefix(parsed.Hostname(), "-") || strings.ContainsAny(parsed.Host, `"\`) {
		return nil, errors.New("has no acceptable host")
	}
	login, err := takeLogin(parsed)
	if err != nil {
		return nil, err
	}
	if login != nil {
		// Not parsed.String(), which would escape the path anew.
		_, path, _ := strings.Cut(strings.TrimPrefix(before, parsed.Scheme+"://"), "/")
		before = login.origin + "/" + path
	}
	return &template{before: before, after: after, login: login}, nil
}

func (t *template) close() error {
	if t.folder == nil {
		return nil
	}
	return t.folder.Close()
}

// remote is one repository at the source.
type remote struct {
	url string
	// folder is the repository itself for a local source, where git is given the
	// handle: the folder that was checked is the one that is read.
	folder *os.File
	// tree is the source's folder that it lies in; nil for a URL.
	tree *folder.Tree
	// alternates are the folders of objects that it borrows from, in that tree.
	alternates []*os.File
}

// remote returns the source of the repository at path.
func (t *template) remote(path string) (*remote, error) {
	if t.folder == nil {
		parts := strings.Split(path, "/")
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		return &remote{url: t.before + strings.Join(parts, "/") + t.after}, nil
	}
	tree, err := t.folder.Enter()
	if err != nil {
		return nil, fmt.Errorf("open repository at the source: %w", err)
	}
	dir, err := openRepository(tree, path+t.after)
	if err == nil {
		return &remote{url: fmt.Sprintf("file:///proc/self/fd/%d", sourceFD), folder: dir, tree: tree}, nil
	}
	tree.Leave()
	if folder.Absent(err) {
		return nil, fmt.Errorf("%w: %w", transfer.ErrMissing, err)
	}
	return nil, fmt.Errorf("open repository at the source: %w", err)
}

// openRepository opens a bare repository, or the .git of one with a work tree.
// A .git that is a file leads elsewhere and is not followed.
func openRepository(tree *folder.Tree, path string) (*os.File, error) {
	dir, err := tree.OpenDir(path)
	if err != nil {
		return nil, err
	}
	inner, err := folder.KindOf(int(dir.Fd()), ".git")
	if err == nil && inner != folder.KindAbsent {
		_ = dir.Close()
		if inner != folder.KindDir {
			return nil, fmt.Errorf("%w: %s/.git is a link or file that leads elsewhere", transfer.ErrUnsafe, dir.Name())
		}
		return tree.OpenDir(path + "/.git")
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

func (r *remote) close() {
	if r.folder != nil {
		r.closeAlternates()
		_ = r.folder.Close()
		r.tree.Leave()
	}
}

// unchanged returns ErrChanged if another folder has the source's name by now.
func (r *remote) unchanged() error {
	if r.tree == nil {
		return nil
	}
	if err := r.tree.Here(); err != nil {
		return fmt.Errorf("%w: the source: %w", transfer.ErrChanged, err)
	}
	return nil
}

// options are what the commands that talk to the source need. A local
// source is served as it is: without --strict upload-pack would look for a .git in it.
func (r *remote) options() []string {
	if r.folder == nil {
		return nil
	}
	return []string{"--upload-pack=git-upload-pack --strict"}
}

// missing makes the error of a command that talked to the source into
// ErrMissing if the source said that there is no such repository. Servers that hide
// what one may not see say the same of a wrong password.
func (r *remote) missing(err error) error {
	if said(err, "does not appear to be a git repository", "epository not found", "could not be found", "' not found") {
		return fmt.Errorf("%w: %w", transfer.ErrMissing, err)
	}
	return err
}
