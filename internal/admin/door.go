package admin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"casq/internal/token"
	"casq/internal/visible"
)

// Door says who may see the pages, and who may act.
//
// Without tokens and proxies everybody who reaches the address may look, and nobody may
// act. With tokens nobody sees anything but the sign-in without one. What comes from a
// trusted proxy with the user's name in the header is let in under that name; the header is
// of no meaning from anywhere else, and a proxy that does not set it is a stranger.
type Door struct {
	Tokens     []token.Token
	UserHeader string         // such as X-Forwarded-User
	Proxies    []netip.Prefix // that set it, and let nobody else set it
}

// ParseProxies reads addresses and networks, such as 10.0.0.5 or 10.1.0.0/16, with commas
// between them.
func ParseProxies(text string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		address, err := netip.ParseAddr(part)
		if err == nil {
			proxies = append(proxies, netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, errors.New("want addresses or networks such as 10.0.0.5, 10.1.0.0/16")
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

// closed tells whether one has to be known to look.
func (d *Door) closed() bool { return len(d.Tokens) > 0 || len(d.Proxies) > 0 }

// who returns the name of who sent a request; "": nobody that is known.
func (d *Door) who(r *http.Request, now time.Time) string {
	if user := d.proxied(r); user != "" {
		return user
	}
	if secret, found := token.Bearer(r); found {
		return token.Named(d.Tokens, secret)
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		return d.signedIn(cookie.Value, now)
	}
	return ""
}

// proxied is the user that a trusted proxy names. Two such headers are one too many: one of
// them came through it.
func (d *Door) proxied(r *http.Request) string {
	names := r.Header.Values(d.UserHeader)
	if d.UserHeader == "" || len(names) != 1 || len(names[0]) > token.MostName || !d.trusts(r.RemoteAddr) {
		return ""
	}
	return strings.TrimSpace(names[0])
}

func (d *Door) trusts(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(d.Proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

const (
	cookieName = "casq_admin"
	cookieTime = 12 * time.Hour
)

// cookie is what one who has signed in is known by: the name, until when, and a seal that
// only who has the secret can make. So it holds at each worker, and ends with the secret.
func (d *Door) cookie(name string, now time.Time) string {
	return d.seal(name, strconv.FormatInt(now.Add(cookieTime).Unix(), 10))
}

func (d *Door) seal(name, until string) string {
	for _, t := range d.Tokens {
		if t.Name == name {
			mac := hmac.New(sha256.New, []byte(t.Secret))
			_, _ = fmt.Fprintf(mac, "casq admin %s %s", until, name)
			return strings.Join([]string{until, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), base64.RawURLEncoding.EncodeToString([]byte(name))}, ".")
		}
	}
	return ""
}

// signedIn is the name of a cookie that holds.
func (d *Door) signedIn(cookie string, now time.Time) string {
	parts := strings.Split(cookie, ".")
	if len(parts) != 3 {
		return ""
	}
	until, err := strconv.ParseInt(parts[0], 10, 64)
	name, nameErr := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || nameErr != nil || now.Unix() > until || !hmac.Equal([]byte(cookie), []byte(d.seal(string(name), parts[0]))) {
		return ""
	}
	return string(name)
}

// signIn answers a form with a secret.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	if s.wrong.Tokens() < 1 {
		return errTooMany
	}
	name := token.Named(s.cfg.Door.Tokens, r.PostFormValue("token"))
	if name == "" {
		s.wrongSecret(r)
		return s.render(w, http.StatusForbidden, "signin", signin{Next: localPath(r.PostFormValue("next")), Failed: true})
	}
	setCookie(w, r, s.cfg.Door.cookie(name, time.Now()), cookieTime)
	http.Redirect(w, r, localPath(r.PostFormValue("next")), http.StatusSeeOther) //nolint:gosec // a path of these pages
	return nil
}

// wrongAtOnce is how many wrong secrets are answered at once; after them one a second is.
const wrongAtOnce = 10

// errTooMany answers whoever brings a secret while too many were wrong. It is not
// compared: otherwise a hundred requests at once would be as many tries. Who has signed in
// is not concerned.
var errTooMany = refusal{http.StatusTooManyRequests, "Too many wrong secrets; try again in some seconds."}

// wrongSecret counts a wrong secret, and says where it came from.
func (s *Server) wrongSecret(r *http.Request) {
	s.wrong.Allow()
	s.cfg.Logger.WarnContext(r.Context(), "wrong secret at the page", "remote", r.RemoteAddr, "forwarded_for", visible.Text(r.Header.Get("X-Forwarded-For"), ""))
}

// setCookie sets the cookie, or ends it. Over HTTP, as on the machine itself, it cannot be
// one for HTTPS only; a proxy that speaks HTTPS says so.
func setCookie(w http.ResponseWriter, r *http.Request, value string, lasts time.Duration) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be
		Name: cookieName, Value: value, Path: "/", MaxAge: int(lasts.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	setCookie(w, r, "", -time.Second)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// signin is what the sign-in shows.
type signin struct {
	Next   string
	Failed bool
}

// localPath is a path of these pages, and of nowhere else.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
