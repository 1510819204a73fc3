package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"casq/internal/testing/child"
)

// siteWorker is the worker process of one site.
type siteWorker struct {
	name string
	log  string
	*child.Process
}

// startWorker starts a worker that logs into a file.
func startWorker(program, name, log string, env []string) (*siteWorker, error) {
	cmd := exec.CommandContext(context.Background(), program, "run")
	cmd.Dir = filepath.Dir(log)
	cmd.Env = env
	process, err := child.StartLogged(cmd, log)
	if err != nil {
		return nil, fmt.Errorf("the %s's worker: %w", name, err)
	}
	return &siteWorker{name, log, process}, nil
}

// watch calls fail when the process ends without having been asked to.
func (w *siteWorker) watch(ctx context.Context, fail context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-w.Ended():
		fail(fmt.Errorf("the %s's worker ended: %w; its log ends with:\n%s", w.name, errEnd(w.Err()), w.tail()))
	}
}

func errEnd(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// childStop is longer than the worker's own limit, which is 10 s.
const childStop = 15 * time.Second

// stop ends the worker the way an operator does, and returns an error unless it
// says that it stopped in order.
func (w *siteWorker) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), childStop)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		return fmt.Errorf("stop the %s's worker: %w; its log ends with:\n%s", w.name, err, w.tail())
	}
	return nil
}

// tail returns the last lines of the log that are more than notices.
func (w *siteWorker) tail() string {
	const lines = 15
	var last []string
	w.eachLine(func(line string, record map[string]any) {
		if level, _ := record["level"].(string); level == "INFO" || level == "DEBUG" {
			return
		}
		last = append(last, line)
		last = last[max(0, len(last)-lines):]
	})
	if len(last) == 0 {
		return "(nothing but notices)"
	}
	return strings.Join(last, "\n")
}

// eachLine visits the log's lines, decoded if they are JSON.
func (w *siteWorker) eachLine(visit func(line string, record map[string]any)) {
	file, err := os.Open(w.log)
	if err != nil {
		return
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var record map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			record = nil
		}
		visit(scanner.Text(), record)
	}
}
