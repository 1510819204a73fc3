// Package certificate is the certificate of a server of ours, from two files that may
// be replaced while it runs.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// askedEvery is how often it is asked whether the files were renewed.
const askedEvery = 10 * time.Second

// Certificate is a server's. When its files are replaced, new connections get the new
// one; one that cannot be read leaves the one before.
//
// mu guards what follows it.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	written time.Time // the newer of the files
	asked   time.Time
}

// Open reads the files of a certificate, with those that it was signed with, and of its
// private key. It returns nil where certFile is "".
func Open(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	if certFile == "" {
		return nil, nil
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, asked: time.Now()}
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS is how a server with it serves.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) >= askedEvery {
		c.asked = time.Now()
		if err := c.read(); err != nil {
			c.log.Warn("cannot read the renewed certificate, going on with the one before", "err", err)
		}
	}
	return c.pair, nil
}

// read takes the files in unless they are those of before.
func (c *Certificate) read() error {
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
