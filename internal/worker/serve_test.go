package worker

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/tlsproxy"
	"casq/internal/token"
	"casq/transfer/web"
)

const siteSecret = "a-secret-of-the-second-site"

// freeAddr is an address that nobody has.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// servedBundle is a site whose files come over HTTPS, from its own worker.
type servedBundle struct {
	*testBundle
	addr, authority string
}

func setupServed(t *testing.T, change func(*Config)) *servedBundle {
	t.Helper()
	s := &servedBundle{addr: freeAddr(t)}
	cert, key := tlsproxy.KeyPair(t, t.TempDir(), 1)
	s.authority = cert
	s.testBundle = setup(t, func(cfg *Config) {
		cfg.ServeAddr, cfg.ServeDir, cfg.ServeCertificate, cfg.ServeKey = s.addr, cfg.ArtifactSource, cert, key
		cfg.ServeTokens = []token.Token{{Name: "second", Secret: siteSecret}}
		cfg.ArtifactSource, cfg.ArtifactToken, cfg.SourceCA = "https://"+s.addr+"/files", siteSecret, cert
		if change != nil {
			change(cfg)
		}
	})
	return s
}

func (s *servedBundle) has(t *testing.T, key, content string) {
	t.Helper()
	s.until(t, key, func() bool {
		got, err := os.ReadFile(filepath.Join(s.target, key))
		return err == nil && string(got) == content && s.status(t, key) == "synced"
	})
}

func TestFilesComeOverHTTPS(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := setupServed(t, nil)
	s.put(t, "builds/42/out.zip", "first")
	s.has(t, "builds/42/out.zip", "first")
	s.put(t, "builds/42/out.zip", "second, longer")
	s.has(t, "builds/42/out.zip", "second, longer")

	// A row without a file is missing, and a folder that is gone is not.
	s.exec(t, "INSERT INTO artifacts (project_id, path, size, sha256) VALUES (1, 'none', 1, repeat('0', 64))")
	s.until(t, "none", func() bool {
		return s.count(t, "resource_id = 'none' AND last_error LIKE '%not found at the source%404%'") == 1
	})
	moved := s.source + ".moved"
	if err := os.Rename(s.source, moved); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "INSERT INTO artifacts (project_id, path, size, sha256) VALUES (1, 'later', 5, repeat('1', 64))")
	s.until(t, "later", func() bool {
		return s.count(t, "resource_id = 'later' AND last_error LIKE '%the source is away%503%' AND retry_at IS NOT NULL") == 1
	})
	s.until(t, "later", func() bool { return s.log.has("read sources and targets: the source is away") })
	if err := os.Rename(moved, s.source); err != nil {
		t.Fatal(err)
	}
	s.put(t, "later", "later")
	s.has(t, "later", "later")
	if s.count(t, "resource_id = 'builds/42/out.zip' AND synced_version = version") != 1 {
		t.Error("what was in place is not any more")
	}
}

// A file is sent only where a row names it; while home does not answer, the kind's folder
// is all that is known.
func TestAFileWithoutARowIsNotServed(t *testing.T) {
	t.Parallel()
	s := setupServed(t, nil)
	s.put(t, "a", "hello")
	s.has(t, "a", "hello")
	if err := os.WriteFile(filepath.Join(s.source, "app.ini"), []byte("password"), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := web.OpenSource(web.Config{URL: "https://" + s.addr + "/files", Token: siteSecret, CAFile: s.authority})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if o, err := source.Open(t.Context(), "app.ini"); err == nil {
		text, _ := io.ReadAll(o)
		t.Errorf("a file without a row was sent: %q", text)
	}
	w := newWorker(Config{Logger: slog.New(slog.DiscardHandler)})
	if w.home, err = database.Open(t.Context(), "postgres://casq@"+freeAddr(t)+"/casq", database.Options{}); err != nil {
		t.Fatal(err)
	}
	defer w.home.Close()
	if has, err := w.hasResource(t.Context(), "artifact", "app.ini"); !has || err != nil {
		t.Errorf("home does not answer, and nothing is served: %v, %v", has, err)
	}
}

// A wrong token is told, at the second site and in what is counted at the first; it is no
// file's fault.
func TestAWrongTokenAtTheSource(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := setupServed(t, func(cfg *Config) { cfg.ArtifactToken = siteSecret + "x" })
	s.put(t, "a", "hello")
	s.until(t, "a", func() bool {
		return s.count(t, "resource_id = 'a' AND last_error LIKE '%the source is away%token%401%' AND retry_at IS NOT NULL") == 1
	})
	if s.log.has(siteSecret) {
		t.Error("the log has the token")
	}
}
