package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// remember returns the value kept in a file of the place, made when there is
// none.
func (p *place) remember(name string, value func() (string, error)) (string, error) {
	file := filepath.Join(p.dir, name)
	content, err := os.ReadFile(file)
	if err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the server's %s: %w", name, err)
	}
	fresh, err := value()
	if err == nil {
		err = p.run.user.write(file, []byte(fresh+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("choose the server's %s: %w", name, err)
	}
	return fresh, nil
}

const portFile = "port"

// choosePort returns the port that the server in this folder had, else one that
// is free now.
func (p *place) choosePort() (int, error) {
	port, err := p.remember(portFile, freePort)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func (p *place) forgetPort() error { return os.Remove(filepath.Join(p.dir, portFile)) }

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// freeSegment removes the System V segment of a Postgres that was killed. The
// server removes it itself otherwise. Only its owner may, so it is done as the
// servers' user; what is left behind is 56 bytes.
func (p *place) freeSegment(ctx context.Context) {
	content, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	lines := bytes.Split(content, []byte("\n"))
	if len(lines) < 7 {
		return
	}
	if fields := bytes.Fields(lines[6]); len(fields) == 2 {
		_ = p.command(ctx, "ipcrm", "-m", string(fields[1])).Run()
	}
}

// logTailBytes is some thirty lines.
const logTailBytes = 4096

func (p *place) logSize() int64 {
	info, err := os.Stat(p.logFile())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logSince returns the end of what was logged after the first bytes.
func (p *place) logSince(size int64) string {
	log, err := os.Open(p.logFile())
	if err != nil {
		return ""
	}
	defer log.Close()
	from := max(size, p.logSize()-logTailBytes)
	content, err := io.ReadAll(io.NewSectionReader(log, from, logTailBytes))
	if err != nil {
		return ""
	}
	return string(content)
}

// LogTail returns the last 4 KiB of the server's log.
func (p *Postgres) LogTail() string { return p.place.logSince(0) }

func (p *Postgres) logSize() int64             { return p.place.logSize() }
func (p *Postgres) logSince(size int64) string { return p.place.logSince(size) }
