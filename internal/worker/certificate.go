package worker

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often it is asked whether the files were renewed.
const certificateEvery = 10 * time.Second

// certificate is a server's, from two files. When those are replaced, new connections
// get the new one; one that cannot be read leaves the one before.
//
// mu guards what follows it.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	written time.Time // the newer of the files
	asked   time.Time
}

// openCertificate returns nil where none is configured.
func openCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	if certFile == "" {
		return nil, nil
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, asked: time.Now()}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// get is for [tls.Config].
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) >= certificateEvery {
		c.asked = time.Now()
		if err := c.read(); err != nil {
			c.log.Warn("cannot read the renewed certificate, going on with the one before", "err", err)
		}
	}
	return c.pair, nil
}

// read takes the files in unless they are those of before.
func (c *certificate) read() error {
	var newest time.Time
	for _, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	if newest.Equal(c.written) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate %s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair, c.written = &pair, newest
	return nil
}
