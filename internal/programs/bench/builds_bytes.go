package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/testing/runnerclient"
	"casq/runner"
	"casq/runner/filestore"
)

const (
	traceSize  = 50 << 20
	uploadSize = 128 << 20
)

// traces: MB/s of a log that comes in pieces of a megabyte; against a server that appends
// them to a file and syncs it.
func traces(ctx context.Context, m *measure.Bench) ([]measure.Result, error) {
	content := bytes.Repeat([]byte("a line of a log, as builds have them by the thousand\n"), traceSize/53)
	return carry(ctx, m, "trace", len(content), fmt.Sprintf("a log of %d MiB in pieces of 1 MiB", traceSize>>20), func(ctx context.Context, j *runnerclient.Job) error {
		if _, err := j.Write(content); err != nil {
			return err
		}
		return j.Send(ctx)
	})
}

// uploads: MB/s of an artifact; against a server that writes it to a file and syncs it.
func uploads(ctx context.Context, m *measure.Bench) ([]measure.Result, error) {
	content := make([]byte, uploadSize)
	return carry(ctx, m, "artifact", len(content), fmt.Sprintf("an artifact of %d MiB into a folder", uploadSize>>20), func(ctx context.Context, j *runnerclient.Job) error {
		return j.Upload(ctx, "art.zip", "never", func() io.Reader { return bytes.NewReader(content) })
	})
}

// carry has a runner bring something to a coordinator, and to a server that only keeps it, by
// turns.
func carry(ctx context.Context, m *measure.Bench, name string, size int, what string, bring func(context.Context, *runnerclient.Job) error) (_ []measure.Result, err error) {
	dir, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := filestore.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	b, err := s.coordinate(ctx, runner.Options{Artifacts: store})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	bare := httptest.NewServer(&keeper{dir: dir})
	defer bare.Close()
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		if _, err := b.enqueue(ctx, 1, "linux"); err != nil {
			return err
		}
		for _, place := range []struct{ name, url string }{{"bare", bare.URL}, {"ours", b.server.URL}} {
			p := b.process(b.tokens[0])
			p.Coordinators = []string{place.url}
			j, err := next(ctx, p)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := bring(ctx, j); err != nil {
				return err
			}
			f.Add(place.name, float64(size)/1e6/time.Since(began).Seconds())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare(name, "ours", "bare", "MB/s",
		what+"; reference: a bare net/http server that writes it to a file and syncs it with each call; client in the same process")}, nil
}

// keeper answers as a coordinator does, and only writes to files.
type keeper struct {
	dir string
	end int64 // of the log
}

// ServeHTTP implements [http.Handler].
func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch {
	case r.Method == http.MethodPatch:
		var n int64
		n, err = k.write("trace", os.O_APPEND, r.Body)
		k.end += n
		w.Header().Set("Range", "0-"+strconv.FormatInt(k.end, 10))
		w.WriteHeader(http.StatusAccepted)
	case filepath.Base(r.URL.Path) == "artifacts":
		var part io.Reader
		if parts, formErr := r.MultipartReader(); formErr == nil {
			part, err = parts.NextRawPart()
		}
		if err == nil {
			_, err = k.write("artifact", os.O_TRUNC, part)
		}
		w.WriteHeader(http.StatusCreated)
	default:
		k.end = 0
		w.WriteHeader(http.StatusCreated)
		_, err = io.WriteString(w, `{"id": 1, "token": "bare"}`)
	}
	if err != nil {
		panic(err) // the client has no answer then
	}
}

func (k *keeper) write(name string, flag int, content io.Reader) (int64, error) {
	file, err := os.OpenFile(filepath.Join(k.dir, name), os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(file, content)
	return n, errors.Join(err, file.Sync(), file.Close())
}
