package doctor

import (
	"time"

	"casq/transfer/file"
)

// Serve is the subject of what other sites need.
const Serve = "other sites"

// serve looks at the folder that is served, and at the certificate. The address is not
// taken: a worker may have it.
func (d *doctor) serve() {
	if d.cfg.ServeAddr == "" {
		d.skip(Serve, "no address for other sites is set", "certificate", "folder")
		return
	}
	d.skip(Serve, "a worker may have it", "address")
	d.certificate(Serve, d.cfg.ServeCertificate, d.cfg.ServeKey)
	source, err := file.OpenSource(d.cfg.ServeDir, d.cfg.Logger)
	if err != nil {
		d.add(Serve, "folder", Error, "make or mount it, or correct its name", "%s", err)
		return
	}
	defer source.Close()
	d.ok(Serve, "folder", "it is there")
}

// certificate looks at the one of a server.
func (d *doctor) certificate(subject, certFile, keyFile string) {
	if certFile == "" {
		d.add(subject, "certificate", Warning, "set a certificate and its key, or put a proxy with TLS in front", "none: tokens pass in clear text")
		return
	}
	const mend = "put both files there, in PEM, as the certificate's issuer gives them"
	end, err := endOf(certFile, keyFile)
	switch left := time.Until(end); {
	case err != nil:
		d.add(subject, "certificate", Error, mend, "%s", err)
	case left <= 0:
		d.add(subject, "certificate", Error, "renew it; it is read again by itself", "it ended at %s", end.UTC().Format(time.RFC3339))
	case left < renewBefore:
		d.add(subject, "certificate", Warning, "renew it; it is read again by itself", "it ends at %s", end.UTC().Format(time.RFC3339))
	default:
		d.ok(subject, "certificate", "it is good until %s", end.UTC().Format(time.RFC3339))
	}
}
