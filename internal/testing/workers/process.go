package workers

import (
	"bytes"
	"context"
	"os"
	"os/exec"

	"casq/internal/testing/child"
)

// launch starts a worker. Each line of its standard output is told.
func launch(program, spec string, tell func(line []byte)) (*child.Process, error) {
	cmd := exec.CommandContext(context.Background(), program, childArgument, spec)
	cmd.Env = []string{"TMPDIR=" + os.TempDir()}
	cmd.Stdout, cmd.Stderr = &lines{tell: tell}, os.Stderr
	return child.Start(cmd)
}

// lines tells what is written to it line by line.
type lines struct {
	tell func(line []byte)
	rest []byte // of a line that is not whole yet
}

func (l *lines) Write(text []byte) (int, error) {
	l.rest = append(l.rest, text...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		l.tell(line)
		l.rest = rest
	}
}
