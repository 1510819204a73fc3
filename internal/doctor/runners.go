package doctor

import (
	"log/slog"
	"time"

	"casq/internal/certificate"
)

// Runners is the subject of what CI runners need.
const Runners = "runners"

// renewBefore is how long a certificate should be good for.
const renewBefore = 14 * 24 * time.Hour

// runners looks at the certificate. The address is not taken: a worker may have it.
func (d *doctor) runners() {
	if d.cfg.RunnerAddr == "" {
		d.skip(Runners, "no address for runners is set", "certificate", "artifacts")
		return
	}
	d.skip(Runners, "a worker may have it", "address")
	d.skip(Runners, "only a worker opens what keeps them", "artifacts")
	if d.cfg.RunnerCertificate == "" {
		d.add(Runners, "certificate", Warning, "set a certificate and its key, or put a proxy with TLS in front", "none: tokens pass in clear text")
		return
	}
	const mend = "put both files there, in PEM, as the certificate's issuer gives them"
	leaf, err := endOf(d.cfg.RunnerCertificate, d.cfg.RunnerKey)
	switch left := time.Until(leaf); {
	case err != nil:
		d.add(Runners, "certificate", Error, mend, "%s", err)
	case left <= 0:
		d.add(Runners, "certificate", Error, "renew it; it is read again by itself", "it ended at %s", leaf.UTC().Format(time.RFC3339))
	case left < renewBefore:
		d.add(Runners, "certificate", Warning, "renew it; it is read again by itself", "it ends at %s", leaf.UTC().Format(time.RFC3339))
	default:
		d.ok(Runners, "certificate", "it is good until %s", leaf.UTC().Format(time.RFC3339))
	}
}

// endOf returns when a certificate ends.
func endOf(certFile, keyFile string) (time.Time, error) {
	c, err := certificate.Open(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return time.Time{}, err
	}
	pair, err := c.TLS().GetCertificate(nil)
	if err != nil {
		return time.Time{}, err
	}
	return pair.Leaf.NotAfter, nil
}
