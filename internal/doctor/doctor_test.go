package doctor_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/internal/doctor"
	"casq/internal/testing/long"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"
	"casq/internal/testing/tlsproxy"
	"casq/internal/testing/transfertest"
	"casq/internal/worker"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// world is a site in which everything is as it should be.
type world struct {
	db    *testdb.DB
	redis *servers.Redis
	cfg   worker.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{db: testdb.New(t), redis: testredis.Start(t)}
	w.cfg = worker.Config{
		HomeURL: w.role(t, w.db, "worker"), RedisURL: w.redis.URL(),
		ArtifactSource: t.TempDir(), ArtifactTarget: t.TempDir(), RepositorySource: t.TempDir(), RepositoryTarget: t.TempDir(),
		GitEnvironment: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
	}
	return w
}

// role is a new one, which may do what it is granted.
func (w *world) role(t *testing.T, db *testdb.DB, what string) string {
	t.Helper()
	url := db.RoleURL(t)
	exec(t, db, "SELECT casq.grant_to('"+testdb.RoleName(t, url)+"', '"+what+"')")
	return url
}

func exec(t *testing.T, db *testdb.DB, sql string) {
	t.Helper()
	if _, err := db.Pool(t).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// unused is an address at which nobody answers.
func unused(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// has tells whether there is such a finding, with a text in it.
func has(findings []doctor.Finding, subject, check string, result doctor.Result, text string) bool {
	return slices.ContainsFunc(findings, func(f doctor.Finding) bool {
		return f.Subject == subject && f.Check == check && f.Result == result && strings.Contains(f.Found+" -> "+f.Mend, text)
	})
}

func TestAWorldThatIsAsItShouldBe(t *testing.T) {
	long.Test(t)
	t.Parallel()
	w := newWorld(t)
	findings := doctor.Look(t.Context(), w.cfg)
	for _, f := range findings {
		// There is no worker, and no tick was ever taken: health says so.
		if (f.Result == doctor.Error || f.Result == doctor.Warning) && f.Check != "health" {
			t.Errorf("%+v", f)
		}
		if f.Result == doctor.NotChecked && f.Subject != doctor.Source && f.Subject != doctor.Report && f.Subject != doctor.Runners && f.Subject != doctor.Serve {
			t.Errorf("not checked: %+v", f)
		}
	}
	for _, check := range []struct{ subject, check string }{
		{doctor.Home, "connection"}, {doctor.Home, "version"}, {doctor.Home, "schema"}, {doctor.Home, "clock"}, {doctor.Home, "primary"},
		{doctor.Home, "permissions"}, {doctor.Home, "event triggers"}, {doctor.Redis, "version"}, {doctor.Redis, "eviction"},
		{doctor.Files, "source and target"}, {doctor.Files, "mark"}, {doctor.Files, "writing"},
		{doctor.Repositories, "source and target"}, {doctor.Repositories, "apart from files"},
	} {
		if !has(findings, check.subject, check.check, doctor.OK, "") {
			t.Errorf("%s: %s is not ok", check.subject, check.check)
		}
	}
	// Nothing was left behind.
	var rows int
	err := w.db.Pool(t).QueryRow(t.Context(), `SELECT (SELECT count(*) FROM casq.kinds) + (SELECT count(*) FROM casq.ticks)
		+ (SELECT count(*) FROM casq.registry) + (SELECT count(*) FROM river.river_job) + (SELECT count(*) FROM casq.targets)`).Scan(&rows)
	if err != nil || rows != 0 {
		t.Errorf("%d rows, %v", rows, err)
	}
	if left, err := os.ReadDir(w.cfg.ArtifactTarget); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// fault is something that is wrong, and what is to be said of it.
type fault struct {
	name           string
	make           func(t *testing.T, w *world)
	subject, check string
	result         doctor.Result
	text           string
}

func TestFaults(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, f := range slices.Concat(databaseFaults, redisFaults, placeFaults, servedFaults) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f.make(t, w)
			findings := doctor.Look(t.Context(), w.cfg)
			if !has(findings, f.subject, f.check, f.result, f.text) {
				t.Errorf("want %s: %s, %s with %q; found:", f.subject, f.check, f.result, f.text)
				for _, found := range findings {
					t.Errorf("%+v", found)
				}
			}
			for _, found := range findings {
				if (found.Result == doctor.Error || found.Result == doctor.Warning) && found.Mend == "" {
					t.Errorf("nothing to do about it: %+v", found)
				}
				if strings.Contains(found.Found+found.Mend, "secret") {
					t.Errorf("a password is told: %+v", found)
				}
			}
		})
	}
}

var databaseFaults = []fault{
	{"home is away", func(t *testing.T, w *world) {
		w.cfg.HomeURL = "postgres://casq:secret@" + unused(t) + "/casq"
	}, doctor.Home, "connection", doctor.Error, "connect"},
	{"what home is not asked is not claimed", func(t *testing.T, w *world) {
		w.cfg.HomeURL = "postgres://casq:secret@" + unused(t) + "/casq"
	}, doctor.Home, "permissions", doctor.NotChecked, "it does not answer"},
	{"no such database", func(_ *testing.T, w *world) {
		w.cfg.HomeURL = strings.Replace(w.cfg.HomeURL, "/"+w.db.Name, "/nowhere", 1)
	}, doctor.Home, "connection", doctor.Error, "nowhere"},
	{"home is not migrated", func(t *testing.T, w *world) {
		w.cfg.HomeURL = testdb.Empty(t).URL
	}, doctor.Home, "schema", doctor.Error, "worker migrate up"},
	{"home is newer", func(t *testing.T, w *world) {
		exec(t, w.db, "UPDATE casq.migration_version SET version = 4000; UPDATE casq.installation SET oldest_program = 4000")
	}, doctor.Home, "schema", doctor.Error, "newer than this program"},
	{"home's role may nothing", func(t *testing.T, w *world) {
		w.cfg.HomeURL = w.db.RoleURL(t)
	}, doctor.Home, "schema", doctor.Error, "casq.grant_to"},
	{"home's role may only read", func(t *testing.T, w *world) {
		w.cfg.HomeURL = w.role(t, w.db, "reader")
	}, doctor.Home, "permissions", doctor.Error, "may not take ticks, learn of kinds, write the registry, queue jobs, fetch jobs, dead-letter events, count, recount"},
	{"one right is missing", func(t *testing.T, w *world) {
		exec(t, w.db, "REVOKE UPDATE ON casq.targets FROM "+testdb.RoleName(t, w.cfg.HomeURL))
	}, doctor.Home, "permissions", doctor.Error, "may not mark targets -> as casq's owner there: SELECT casq.grant_to("},
	{"a right that no trial needs is missing", func(t *testing.T, w *world) {
		role := testdb.RoleName(t, w.cfg.HomeURL)
		exec(t, w.db, "REVOKE DELETE ON casq.workers, casq.counters FROM "+role)
		exec(t, w.db, "REVOKE DELETE, INSERT ON river.river_job FROM "+role)
		exec(t, w.db, "GRANT INSERT ON river.river_job TO "+role)
	}, doctor.Home, "permissions", doctor.Error, "may not DELETE on casq.counters, DELETE on casq.workers, DELETE on river.river_job -> as casq's owner there: SELECT casq.grant_to("},
	{"a table is locked", func(t *testing.T, w *world) {
		tx, err := w.db.Pool(t).Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), "LOCK TABLE casq.targets")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	}, doctor.Home, "some permissions", doctor.NotChecked, "mark targets: "},
	{"home's sessions are read-only", func(_ *testing.T, w *world) {
		w.cfg.HomeURL += "&default_transaction_read_only=on"
	}, doctor.Home, "primary", doctor.Error, "read-only"},
	{"no event triggers", func(t *testing.T, w *world) {
		testdb.NeedsSuperuser(t)
		exec(t, w.db, `CREATE TABLE files (path text PRIMARY KEY)`)
		exec(t, w.db, `SELECT casq.track('files', kind => 'file', transfer => 'none', key_column => 'path')`)
		exec(t, w.db, `DROP EVENT TRIGGER casq_ddl`)
	}, doctor.Home, "event triggers", doctor.Warning, "SELECT casq.install_event_trigger()"},
	{"a problem that the site knows", func(t *testing.T, w *world) {
		exec(t, w.db, `CREATE TABLE files (path text PRIMARY KEY)`)
		exec(t, w.db, `SELECT casq.track('files', kind => 'file', transfer => 'none', key_column => 'path')`)
	}, doctor.Home, "health", doctor.Warning, "critical: no worker"},
	{"the source is away", func(t *testing.T, w *world) {
		w.cfg.SourceURL = "postgres://casq:secret@" + unused(t) + "/casq"
	}, doctor.Source, "connection", doctor.Error, "connect"},
	{"the source's role may nothing", func(t *testing.T, w *world) {
		w.cfg.SourceURL = w.role(t, testdb.New(t), "application")
	}, doctor.Source, "schema", doctor.Error, "casq.grant_to"},
	{"the source is not reported to", func(t *testing.T, w *world) {
		w.cfg.SourceURL = w.role(t, testdb.New(t), "follower")
	}, doctor.Report, "connection", doctor.Warning, "not set"},
	{"the source may be followed", func(t *testing.T, w *world) {
		w.cfg.SourceURL = w.role(t, testdb.New(t), "follower")
		w.cfg.ReportURL = w.cfg.SourceURL
	}, doctor.Report, "permissions", doctor.OK, "1 of 1 were tried"},
	{"the source may not be reported to", func(t *testing.T, w *world) {
		db := testdb.New(t)
		w.cfg.SourceURL, w.cfg.ReportURL = w.role(t, db, "follower"), w.role(t, db, "reader")
	}, doctor.Report, "permissions", doctor.Error, "may not report"},
	{"a standby that is none", func(t *testing.T, w *world) {
		w.cfg.ReplicaURLs = []string{w.cfg.HomeURL}
	}, "standby 1", "standby", doctor.Warning, "it is a primary"},
}

var redisFaults = []fault{
	{"Redis is away", func(t *testing.T, w *world) {
		w.cfg.RedisURL = "redis://:secret@" + unused(t) + "/0"
	}, doctor.Redis, "connection", doctor.Error, "refused"},
	{"Redis throws away", func(t *testing.T, w *world) {
		client := testredis.Client(t, w.redis)
		for name, value := range map[string]string{"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"} {
			if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}, doctor.Redis, "eviction", doctor.Warning, "allkeys-lru"},
	{"Redis does not say", func(t *testing.T, w *world) {
		client := testredis.Client(t, w.redis)
		if err := client.Do(t.Context(), "ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all", "-info").Err(); err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(w.redis.URL())
		if err != nil {
			t.Fatal(err)
		}
		at.User = url.UserPassword("worker", "secret")
		w.cfg.RedisURL = at.String()
	}, doctor.Redis, "connection", doctor.Error, "INFO"},
	{"no Redis", func(_ *testing.T, w *world) { w.cfg.RedisURL = "" }, doctor.Redis, "version", doctor.NotChecked, "none is needed"},
}

func writeMark(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, ".casq"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".casq", "target"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const marked = `INSERT INTO casq.targets (transfer, id, place, marked_at) VALUES ('file', '00000000-0000-0000-0000-000000000001', 'there', now())`

var placeFaults = []fault{
	{"no target", func(_ *testing.T, w *world) { w.cfg.ArtifactTarget += "/none" }, doctor.Files, "source and target", doctor.Error, "it has to exist"},
	{"no source", func(_ *testing.T, w *world) { w.cfg.ArtifactSource += "/none" }, doctor.Files, "source and target", doctor.Error, "no such file"},
	{"target inside source", func(t *testing.T, w *world) {
		w.cfg.ArtifactTarget = filepath.Join(w.cfg.ArtifactSource, "inside")
		if err := os.Mkdir(w.cfg.ArtifactTarget, 0o755); err != nil {
			t.Fatal(err)
		}
	}, doctor.Files, "source and target", doctor.Error, "lie inside each other"},
	{"one target for both", func(_ *testing.T, w *world) {
		w.cfg.RepositoryTarget = w.cfg.ArtifactTarget
	}, doctor.Repositories, "apart from files", doctor.Error, "use separate folders"},
	{"a mark that is lost", func(t *testing.T, w *world) { exec(t, w.db, marked) }, doctor.Files, "mark", doctor.Error, "mount what was at there"},
	{"a mark of another site", func(t *testing.T, w *world) {
		writeMark(t, w.cfg.ArtifactTarget, `{"target": "00000000-0000-0000-0000-000000000002", "transfer": "file", "home": "x"}`)
	}, doctor.Files, "mark", doctor.Error, "another site's target"},
	{"another mark", func(t *testing.T, w *world) {
		exec(t, w.db, marked)
		writeMark(t, w.cfg.ArtifactTarget, `{"target": "00000000-0000-0000-0000-000000000002", "transfer": "file", "home": "x"}`)
	}, doctor.Files, "mark", doctor.Error, "casq.replace_target('file')"},
	{"a mark that is none", func(t *testing.T, w *world) { writeMark(t, w.cfg.ArtifactTarget, "nonsense") }, doctor.Files, "mark", doctor.Error, "is not a mark"},
	{"the own mark", func(t *testing.T, w *world) {
		exec(t, w.db, marked)
		writeMark(t, w.cfg.ArtifactTarget, `{"target": "00000000-0000-0000-0000-000000000001", "transfer": "file", "home": "x"}`)
	}, doctor.Files, "mark", doctor.OK, "it is this site's target"},
	{"a target that is small", func(t *testing.T, w *world) {
		w.cfg.ArtifactTarget = filepath.Join(t.TempDir(), "small")
		transfertest.MountTmpfs(t, w.cfg.ArtifactTarget, "size=1m,mode=755")
	}, doctor.Files, "space", doctor.Warning, "0.0 of 0.0 GiB are free"},
	{"a target that is read-only", func(t *testing.T, w *world) {
		w.cfg.ArtifactTarget = filepath.Join(t.TempDir(), "small")
		transfertest.MountTmpfs(t, w.cfg.ArtifactTarget, "size=1m,mode=755")
		if err := unix.Mount("", w.cfg.ArtifactTarget, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}, doctor.Files, "writing", doctor.Error, "read-only file system"},
	{"no copies", func(_ *testing.T, w *world) { w.cfg.ArtifactTarget = "" }, doctor.Files, "mark", doctor.NotChecked, "no target is set"},
	{"runners without TLS", func(_ *testing.T, w *world) { w.cfg.RunnerAddr = ":0" }, doctor.Runners, "certificate", doctor.Warning, "clear text"},
	{"a certificate that ends", func(t *testing.T, w *world) {
		w.cfg.RunnerAddr = ":0"
		w.cfg.RunnerCertificate, w.cfg.RunnerKey = tlsproxy.KeyPair(t, t.TempDir(), 1)
	}, doctor.Runners, "certificate", doctor.Warning, "it ends at "},
	{"no certificate", func(_ *testing.T, w *world) {
		w.cfg.RunnerAddr, w.cfg.RunnerCertificate, w.cfg.RunnerKey = ":0", "/none", "/none"
	}, doctor.Runners, "certificate", doctor.Error, "no such file"},
}

var servedFaults = []fault{
	{"a source over HTTPS that is away", func(t *testing.T, w *world) {
		w.cfg.ArtifactSource, w.cfg.ArtifactToken = "https://"+unused(t)+"/files", "a-secret-of-the-site"
	}, doctor.Files, "source and target", doctor.Error, "the source is away"},
	{"a source that knows another token", func(t *testing.T, w *world) {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) }))
		t.Cleanup(server.Close)
		w.cfg.ArtifactSource, w.cfg.ArtifactToken = server.URL, "a-secret-of-the-site"
	}, doctor.Files, "source and target", doctor.Error, "it does not know our token"},
	{"a source in clear text", func(_ *testing.T, w *world) {
		w.cfg.ArtifactSource = "http://files.example.org/"
	}, doctor.Files, "source and target", doctor.Error, "use https://"},
	{"an authority that is not there", func(_ *testing.T, w *world) {
		w.cfg.SourceCA = "/none.pem"
	}, doctor.Repositories, "source and target", doctor.Error, "/none.pem"},
	{"other sites without TLS", func(t *testing.T, w *world) {
		w.cfg.ServeAddr, w.cfg.ServeDir = ":0", t.TempDir()
	}, doctor.Serve, "certificate", doctor.Warning, "clear text"},
	{"a folder for other sites that is gone", func(_ *testing.T, w *world) {
		w.cfg.ServeAddr, w.cfg.ServeDir = ":0", "/none"
	}, doctor.Serve, "folder", doctor.Error, "/none"},
}

// Of a server whose clock goes wrong it is told by how much, and how sure that is; of a
// standby whether it is one of home's, and gets anything.
func TestStandbysAndClocks(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1), testdb.OwnIdentity(), testdb.Clock(90*time.Second))
	w := newWorld(t)
	w.cfg.ReplicaURLs = []string{cluster.StandbyURL(0)}
	findings := doctor.Look(t.Context(), w.cfg)
	if !has(findings, "standby 1", "standby", doctor.Error, "of another cluster than home") {
		t.Errorf("a foreign standby: %+v", findings)
	}
	w.cfg.HomeURL = cluster.URL()
	findings = doctor.Look(t.Context(), w.cfg)
	if !has(findings, doctor.Home, "clock", doctor.Warning, "the database's is 1m29.9") && !has(findings, doctor.Home, "clock", doctor.Warning, "the database's is 1m30") {
		t.Errorf("a clock that is 90 s ahead: %+v", findings)
	}
	if !has(findings, "standby 1", "replication", doctor.OK, "it receives") {
		t.Errorf("a standby that receives: %+v", findings)
	}
	w.cfg.HomeURL = cluster.StandbyURL(0)
	if findings = doctor.Look(t.Context(), w.cfg); !has(findings, doctor.Home, "primary", doctor.Error, "it is a standby") {
		t.Errorf("home is a standby: %+v", findings)
	}
}
