package shellrunner

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

// artifact is what a build leaves.
type artifact struct {
	Name     string   `json:"name"`
	Paths    []string `json:"paths"`
	When     string   `json:"when"`
	Type     string   `json:"artifact_type"`
	Format   string   `json:"artifact_format"`
	ExpireIn string   `json:"expire_in"`
}

// upload sends the files that a build leaves.
func (j *job) upload(ctx context.Context, succeeded bool) error {
	for _, a := range j.Artifacts {
		if a.When == "on_failure" && succeeded || a.When != "on_failure" && a.When != "always" && !succeeded {
			continue
		}
		content, err := j.pack(a)
		if err != nil {
			return err
		}
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreateFormFile("file", "artifacts."+a.Format)
		if err != nil {
			return err
		}
		_, _ = part.Write(content) // into memory
		_ = form.Close()
		query := url.Values{"artifact_format": {a.Format}, "artifact_type": {a.Type}, "expire_in": {a.ExpireIn}}
		status, answer, _, err := j.runner.send(ctx, http.MethodPost, fmt.Sprintf("/api/v4/jobs/%d/artifacts?%s", j.ID, query.Encode()), j.Token,
			&body, map[string]string{"Content-Type": form.FormDataContentType()})
		if err != nil {
			return err
		}
		if status != http.StatusCreated {
			return fmt.Errorf("sent an artifact of build %d and got %d %s", j.ID, status, answer)
		}
	}
	return nil
}

// pack makes an archive of the paths of an artifact, or of a report one stream.
func (j *job) pack(a artifact) ([]byte, error) {
	var packed bytes.Buffer
	archive, stream := zip.NewWriter(&packed), gzip.NewWriter(&packed)
	for _, pattern := range a.Paths {
		found, err := filepath.Glob(filepath.Join(j.dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				text, err := os.ReadFile(path) //nolint:gosec // the files of a test
				if err != nil {
					return err
				}
				if a.Format == "gzip" {
					_, err = stream.Write(text)
					return err
				}
				name, err := filepath.Rel(j.dir, path)
				if err != nil {
					return err
				}
				file, err := archive.Create(name)
				if err == nil {
					_, err = file.Write(text)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	if a.Format == "gzip" {
		err := stream.Close()
		return packed.Bytes(), err
	}
	err := archive.Close()
	return packed.Bytes(), err
}

// download fetches what other builds have left.
func (j *job) download(ctx context.Context) error {
	for _, d := range j.Dependencies {
		status, content, _, err := j.runner.send(ctx, http.MethodGet, fmt.Sprintf("/api/v4/jobs/%d/artifacts", d.ID), d.Token, nil, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("asked for the artifacts of build %d and got %d %s", d.ID, status, content)
		}
		if err == nil {
			err = j.unpack(content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *job) unpack(content []byte) error {
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	for _, entry := range archive.File {
		file, err := entry.Open()
		if err != nil {
			return err
		}
		text, err := io.ReadAll(file)
		path := filepath.Join(j.dir, filepath.FromSlash(entry.Name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o700)
		}
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
