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
	d.certificate(Runners, d.cfg.RunnerCertificate, d.cfg.RunnerKey)
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
