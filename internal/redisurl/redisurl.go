// Package redisurl opens what REDIS_URL names: one server, a Sentinel set-up or
// a Cluster.
package redisurl

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Forms says what a URL may look like, for error messages.
const Forms = "redis://:password@host:6379/0, rediss:// (&sslrootcert=file: signed by that) or unix://; ?master_name=name for Sentinel, ?addr=host2:6379 for Cluster"

// A server that is there answers at once, and whoever asks has something else
// to do when none is there. So nothing waits for long, and nothing is repeated
// behind the caller's back.
const (
	dialTimeout = time.Second
	answerIn    = 3 * time.Second
	retries     = 1
	// slotsEvery is how often a Cluster is asked who has which slots, while it
	// is used. go-redis asks each minute, and at once when a server says that it
	// has not got a slot any more. One that is dead does not say so: for a
	// minute, its slots would seem to be dead, too.
	slotsEvery = time.Second
)

// quiet keeps go-redis from writing to the standard error, in a form of its own,
// what its errors say as well.
var quiet = sync.OnceFunc(logging.Disable)

// Open returns a client, which connects when it is used. The deadline of a
// call's context is obeyed.
//
// With master_name in the query the hosts, that of the URL and those of addr,
// are Sentinels; with addr alone they are nodes of a Cluster. With sslrootcert, as in a
// URL of Postgres, servers are trusted whose certificates that file's have signed, and
// no others. Everything else is as go-redis has it.
func Open(text string) (redis.UniversalClient, error) {
	quiet()
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	query := parsed.Query()
	roots, err := trusted(parsed.Scheme, query)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	if roots != nil {
		parsed.RawQuery = query.Encode() // go-redis refuses what it does not know
		text = parsed.String()
	}
	switch {
	case query.Has("master_name"):
		return openSentinel(text, roots)
	case query.Has("addr"):
		return openCluster(text, roots)
	default:
		return openServer(text, roots)
	}
}

// rootsParameter names the file of those who sign the servers' certificates.
const rootsParameter = "sslrootcert"

// trusted takes the parameter out of a query, and returns who is trusted; nil for whom
// the machine trusts.
func trusted(scheme string, query url.Values) (*x509.CertPool, error) {
	file := query.Get(rootsParameter)
	query.Del(rootsParameter)
	switch {
	case file == "":
		return nil, nil
	case scheme != "rediss":
		return nil, fmt.Errorf("%s is for rediss://, and this is %s://", rootsParameter, scheme)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", rootsParameter, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read %s: no certificate is in %s", rootsParameter, file)
	}
	return roots, nil
}

// trust has a client trust roots and nobody else, if there are any.
func trust(config *tls.Config, roots *x509.CertPool) {
	if config != nil && roots != nil {
		config.RootCAs = roots
	}
}

func openServer(text string, roots *x509.CertPool) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	trust(o.TLSConfig, roots)
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.DialerRetries = cmp.Or(o.DialTimeout, dialTimeout), cmp.Or(o.DialerRetries, retries)
	o.ReadTimeout, o.MaxRetries = cmp.Or(o.ReadTimeout, answerIn), cmp.Or(o.MaxRetries, retries)
	// Only Redis Enterprise sends these.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

func openSentinel(text string, roots *x509.CertPool) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(text)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	trust(o.TLSConfig, roots)
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.DialerRetries = cmp.Or(o.DialTimeout, dialTimeout), cmp.Or(o.DialerRetries, retries)
	o.ReadTimeout, o.MaxRetries = cmp.Or(o.ReadTimeout, answerIn), cmp.Or(o.MaxRetries, retries)
	return redis.NewFailoverClient(o), nil
}

func openCluster(text string, roots *x509.CertPool) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(text)
	if err != nil {
		return nil, fmt.Errorf("parse redis URL: %w", err)
	}
	trust(o.TLSConfig, roots)
	o.ContextTimeoutEnabled = true
	o.DialTimeout, o.DialerRetries = cmp.Or(o.DialTimeout, dialTimeout), cmp.Or(o.DialerRetries, retries)
	o.ReadTimeout, o.MaxRetries = cmp.Or(o.ReadTimeout, answerIn), cmp.Or(o.MaxRetries, retries)
	o.ClusterStateReloadInterval = cmp.Or(o.ClusterStateReloadInterval, slotsEvery)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClusterClient(o), nil
}
