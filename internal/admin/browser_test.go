package admin

import (
	"context"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/long"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// screenshots is a folder for pictures of what the browser shows, to look at: go test
// ./internal/admin -run TestPages -screenshots /tmp/pictures.
var screenshots = flag.String("screenshots", "", "folder for pictures of the pages")

// browserTime is for all that one test does in its browser.
const browserTime = 2 * time.Minute

// open starts a browser, and returns the context of its only page.
func open(t *testing.T) context.Context {
	t.Helper()
	long.Test(t)
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("the pages are tested in a browser: %v (scripts/deps.sh installs Debian's chromium)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTime)
	t.Cleanup(cancel)
	// Root has no sandbox; what is shown is our own.
	dir := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(dir),
		chromedp.Env("TMPDIR="+dir)) // where it leaves files of shared memory
	ctx, cancelBrowser := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancelBrowser)
	ctx, cancelPage := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // it waits for the browser's end
		cancelPage()
	})
	return ctx
}

func run(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// value is what a script in the page comes to.
func value[T any](ctx context.Context, t *testing.T, script string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signsIn types the secret in, as a person does.
func (b *testBundle) signsIn(ctx context.Context, t *testing.T) {
	t.Helper()
	run(ctx, t, chromedp.Navigate(b.http.URL+"/"), chromedp.WaitVisible("#token"),
		chromedp.SendKeys("#token", secret+"\r"), chromedp.WaitVisible("#live"))
}

// shows waits until the page has a text.
func shows(text string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		_, err = chromedp.Poll[bool]("document.body.innerText.includes("+quoteJS(text)+")")(ctx, target)
		return none, err
	}
}

func quoteJS(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// browse runs the sampler, until the test ends.
func (b *testBundle) browse(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { b.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

// populate makes a site with something of everything.
func (b *testBundle) populate(t *testing.T) {
	t.Helper()
	b.rows(t, "artifact", 41, "copy file ...: write ...: no space left on device")
	b.rows(t, "artifact", 7, "source does not have ..., HTTP 404")
	b.rows(t, "artifact", 230, "")
	b.rows(t, "repository", 3, "fetch ...: remote hung up unexpectedly: early EOF, fetch-pack: invalid index-pack output")
	b.exec(t, "UPDATE casq.registry SET synced_version = version, failed_version = NULL, failure_reason = NULL, size = 123456789 WHERE version % 3 > 0 AND failed_version IS NULL")
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, failed_version, failure_reason, last_error, attempts)
		VALUES ('artifact', 'builds/2026/11/a rather long name of a file/with "quotes" and <b>tags</b>/' || repeat('x', 200), 1, 1, 1, '{}', 9999, 9999, 'disk full', 'disk full', 3)`)
	b.exec(t, `INSERT INTO casq.workers (id, host, pid, version, schema_version, roles, waiting) VALUES
		(gen_random_uuid(), 'worker-1.example.org', 4711, 'v1.4.0', 16, '{"registry": {"ready": true, "seconds": 9}, "sync": {"ready": true, "seconds": 9}, "ticker": {"ready": false, "seconds": 9, "error": "x"}}', NULL),
		(gen_random_uuid(), 'worker-2.example.org', 4712, 'v1.3.9', 16, '{}', 'home')`)
	b.exec(t, `INSERT INTO river.river_queue (name, created_at, updated_at, paused_at) SELECT name, now(), now() - interval '1 s', paused
		FROM (VALUES ('artifact', NULL), ('repository', now())) AS q (name, paused)`)
	b.exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		SELECT 'registry', 1, n, 1, 'artifact', 'd' || n, 'created', now(), 'payload lacks sha256', 3 FROM generate_series(1, 4) AS n`)
	b.exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce, epoch, holder)
		VALUES ('registry', 1, 1, gen_random_uuid(), 12345, gen_random_uuid(), 7, 'worker-1.example.org/4711')`)
	b.exec(t, "INSERT INTO casq.reconcile_runs (kind, reason, waiting) VALUES ('artifact', 'asked', 'the source has no tick yet')")
	b.call(t, http.MethodPost, "/act", form("action", "resync", "kind", "artifact"))
	b.exec(t, `UPDATE casq.audit SET changed = changed || '{"registry": 100}'`)
	b.call(t, http.MethodPost, "/act", form("action", "resync-one", "kind", "artifact", "key", "r300"))
}

// The overview follows by itself; what others have named runs nowhere; a person can act by
// the keyboard alone.
func TestAPersonInABrowser(t *testing.T) {
	t.Parallel()
	ctx := open(t)
	b := setup(t, func(c *Config) { c.Interval = 100 * time.Millisecond })
	b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) VALUES ('artifact', now(), now())")
	b.browse(t)
	b.signsIn(ctx, t)
	b.rows(t, "artifact", 7, "disk full")
	run(ctx, t, shows("disk full"), shows("Live."))
	b.rows(t, "artifact", 1, evil)
	run(ctx, t, shows("<script>alert(1)</script>"))
	if value[bool](ctx, t, "document.querySelector('#live script, #live img') !== null") {
		t.Error("a name has become a part of the page")
	}
	// The section that the keyboard is in is left alone, the others go on.
	run(ctx, t, chromedp.Focus(`[aria-label="Pause artifact"]`))
	b.rows(t, "repository", 3, "hung up")
	run(ctx, t, shows("hung up"))
	if focused := value[string](ctx, t, "document.activeElement.getAttribute('aria-label')"); focused != "Pause artifact" {
		t.Errorf("the focus is on %q", focused)
	}
	run(ctx, t, chromedp.KeyEvent("\r"), chromedp.WaitVisible("button.act"), chromedp.Focus("button.act"))
	run(ctx, t, chromedp.KeyEvent("\r"), chromedp.WaitVisible("#live"), shows("queue pause artifact"))
	if got, want := b.acted(t), `alice | page | 127.0.0.1 | queue pause artifact | {"river_queue": 1} | f`; got != want {
		t.Errorf("recorded is %s, want %s", got, want)
	}
}

// hour is as if the site had been watched for an hour.
func (b *testBundle) hour(t *testing.T) {
	t.Helper()
	now := time.Now()
	for n := range 60 {
		lag := float64(n * n % 37)
		b.sampler.keep(&sample{
			At: now.Add(time.Duration(n-60) * time.Minute), Lags: []late{{Lag: &lag}},
			Kinds: []kind{{Kind: "artifact", Open: int64(1000 - n*15), Failed: int64(n / 10)}}, Queues: []queue{{Name: "artifact", Waiting: int64(n % 20 * 50)}},
		})
	}
	b.sampler.round(t.Context())
	if missing := b.sampler.last.Missing; len(missing) > 0 {
		t.Errorf("parts are missing: %q", missing)
	}
}

// look is a way to see a page.
type look struct {
	name          string
	width, height int64
	scheme        string
}

var looks = []look{
	{"phone-light", 360, 780, "light"}, {"phone-dark", 360, 780, "dark"},
	{"desktop-light", 1280, 900, "light"}, {"desktop-dark", 1280, 900, "dark"},
}

// Each page can be read and used: on a phone and a desk, in light and dark, by eyes, keyboard
// and screen reader.
func TestPages(t *testing.T) {
	t.Parallel()
	ctx := open(t)
	b := setup(t)
	b.populate(t)
	b.hour(t)
	b.signsIn(ctx, t)
	long := b.text(t, "SELECT resource_id FROM casq.registry WHERE version = 9999")
	pages := map[string]string{
		"overview": "/", "signin": "/signin", "confirm": "/act?action=resync&kind=artifact",
		"resource": "/resource?" + form("kind", "artifact", "key", long).Encode(), "nothing": "/resource?kind=artifact&key=s", "failure": "/act?action=none",
	}
	for _, l := range looks {
		run(ctx, t, chromedp.EmulateViewport(l.width, l.height))
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, path := range pages {
			run(ctx, t, chromedp.Navigate(b.http.URL+path), chromedp.WaitReady("main"))
			for _, fault := range value[[]string](ctx, t, auditJS) {
				t.Errorf("%s, %s: %s", name, l.name, fault)
			}
			if *screenshots != "" {
				picture(ctx, t, filepath.Join(*screenshots, name+"-"+l.name+".png"))
			}
		}
	}
}

// picture takes one of the whole page.
func picture(ctx context.Context, t *testing.T, path string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// auditJS returns what is wrong with a page: contrast below 4.5, text that is cut off at the
// side, fields and links without a name, headings that skip a level, an order of focus that
// is not that of the page, targets too small for a finger.
const auditJS = `(() => {
  const faults = [];
  const visible = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== 'hidden';
  const rgb = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 || m[3] > 0 ? m.slice(0, 3) : null; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
  const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const name = (e) => (e.getAttribute('aria-label') || e.innerText || '').trim();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!visible(e)) continue;
    if (own || e.tagName === 'INPUT') {
      const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
      const contrast = (a + 0.05) / (b + 0.05);
      if (contrast < 4.5) faults.push('contrast ' + contrast.toFixed(2) + ' of ' + e.tagName + ' ' + name(e).slice(0, 40));
    }
    if (e.tabIndex > 0) faults.push('tabindex of ' + e.tagName);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push('the page is ' + document.documentElement.scrollWidth + ' wide in ' + innerWidth);
  for (const e of document.querySelectorAll('input:not([type=hidden])')) if (!e.labels.length) faults.push('no label: ' + e.name);
  for (const e of document.querySelectorAll('a, button, progress, svg, [role=region]')) {
    const by = e.getAttribute('aria-labelledby');
    if (!name(e) && !(by && name(document.getElementById(by)))) faults.push('no name: ' + e.outerHTML.slice(0, 80));
  }
  for (const e of document.querySelectorAll('button, .links a, td a, nav a')) if (visible(e) && e.getBoundingClientRect().height < 24) faults.push('small target: ' + name(e));
  for (const e of document.querySelectorAll('th')) if (!e.scope) faults.push('no scope: ' + e.innerText);
  let level = 0, firsts = 0;
  for (const e of document.querySelectorAll('h1, h2, h3')) {
    const l = Number(e.tagName[1]);
    if (l > level + 1) faults.push('heading skips a level: ' + e.innerText);
    if (l === 1) firsts++;
    level = l;
  }
  if (firsts !== 1) faults.push(firsts + ' headings of the first level');
  if (document.documentElement.lang !== 'en' || !document.title) faults.push('no language or title');
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) faults.push('an id is there twice');
  return faults;
})()`
