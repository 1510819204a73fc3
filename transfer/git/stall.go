package git

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// gitStall is how long a git may neither compute nor read nor write before it is
// ended: a server that says nothing, a disk that hangs, a FIFO where a file was. It is
// far more than a server takes to say that it is still counting (5 s).
const gitStall = 10 * time.Minute

// watched returns a ctx that ends when the processes of the group whose leader pid
// tells have done nothing for as long as that, and what to call in the end.
func watched(ctx context.Context, stall time.Duration, pid func() int) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		poll := time.NewTicker(stall / 10)
		defer poll.Stop()
		done, since := int64(-1), time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-poll.C:
			}
			if now := work(pid()); now != done {
				done, since = now, time.Now()
			} else if time.Since(since) >= stall {
				cancel(fmt.Errorf("no progress for %s: it has neither computed nor read nor written", stall))
				return
			}
		}
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-stopped
	}
}

// work is a number that grows with what a git process and those that it has
// started do: ticks of the CPU, and bytes read and written. Programs that are not
// git's are not counted: ssh talks to its server while nobody works there.
func work(pid int) (sum int64) {
	at := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(at + "/stat")
	if err != nil {
		return 0
	}
	// "pid (name) state ...": the name may have anything in it.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return 0
	}
	fields := strings.Fields(string(stat[end+1:]))
	if strings.HasPrefix(string(stat[open+1:end]), "git") && len(fields) > 14 {
		for _, field := range fields[11:15] { // own and ended children's
			ticks, _ := strconv.ParseInt(field, 10, 64)
			sum += ticks
		}
		sum += bytesMoved(at)
	}
	tasks, _ := os.ReadDir(at + "/task")
	for _, task := range tasks {
		children, _ := os.ReadFile(at + "/task/" + task.Name() + "/children")
		for child := range strings.FieldsSeq(string(children)) {
			if id, err := strconv.Atoi(child); err == nil {
				sum += 1 + work(id)
			}
		}
	}
	return sum
}

func bytesMoved(at string) (sum int64) {
	text, _ := os.ReadFile(at + "/io")
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name == "rchar" || name == "wchar" {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			sum += n
		}
	}
	return sum
}
