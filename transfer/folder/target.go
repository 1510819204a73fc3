package folder

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"

	"casq/transfer"

	"golang.org/x/sys/unix"
)

// OpenSource opens the folder of an address to read from. Other file systems may be
// mounted below it.
func OpenSource(address string, log *slog.Logger) (*Root, error) {
	name, err := mustBeFolder(address)
	if err != nil {
		return nil, err
	}
	return openRoot(name, true, log)
}

// OpenTarget opens the folder of an address, and checks whether staging can be renamed
// into it.
func OpenTarget(address string, log *slog.Logger) (*Root, error) {
	name, err := mustBeFolder(address)
	if err != nil {
		return nil, err
	}
	target, err := openRoot(name, false, log)
	if err != nil {
		return nil, fmt.Errorf("open target folder: %w (it has to exist: mkdir it, or mount what it is on)", err)
	}
	staging, err := target.now.OpenDir(transfer.StagingRoot)
	switch {
	case err == nil:
		_ = staging.Close()
	case !errors.Is(err, unix.ENOENT):
		_ = target.Close()
		return nil, fmt.Errorf("open staging in target: %w", err)
	}
	return target, nil
}

// Is tells whether an address is that of a folder, and not of a bucket. One that
// is wrong is a folder's.
func Is(address string) bool {
	_, ok, err := Of(address)
	return ok || err != nil
}

// mustBeFolder is Of for where nothing else will do.
func mustBeFolder(address string) (string, error) {
	name, ok, err := Of(address)
	if err == nil && !ok {
		err = errors.New("it is no folder")
	}
	return name, err
}

// Of returns the folder that address names; false: it is no folder but a
// URL of something else.
func Of(address string) (string, bool, error) {
	if address == "" {
		return "", false, errors.New("no folder and no URL given")
	}
	scheme, _, isURL := strings.Cut(address, "://")
	if isURL && scheme != "file" {
		return "", false, nil
	}
	if isURL {
		parsed, err := url.Parse(address)
		if err != nil {
			return "", false, err
		}
		if parsed.Host != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
			return "", false, errors.New("a file URL is file:///folder, with three slashes and no parameters")
		}
		address = parsed.Path
	}
	folder, err := filepath.Abs(address)
	return folder, true, err
}
