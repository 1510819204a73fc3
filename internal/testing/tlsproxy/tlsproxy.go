// Package tlsproxy puts TLS in front of private servers, with certificates that nobody
// else trusts.
package tlsproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// KeyPair writes a certificate for 127.0.0.1 that has signed itself, and its key, into
// a folder. The certificate's file is the one to trust, too.
func KeyPair(t testing.TB, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: keyBytes}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// proxy passes on what comes over TLS.
//
// mu guards open, which are closed when the test ends.
type proxy struct {
	backend  string // a Unix socket
	postgres bool
	config   *tls.Config
	group    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   []net.Conn
}

// Start puts TLS on a port of 127.0.0.1 in front of a server's Unix socket, until the
// test ends. Of Postgres' clients it wants that they ask for TLS in Postgres' own way.
func Start(t testing.TB, socket string, postgres bool) (addr, certFile string) {
	t.Helper()
	certFile, keyFile := KeyPair(t, t.TempDir(), 1)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{backend: socket, postgres: postgres, config: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}}
	p.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.close()
		p.group.Wait()
	})
	return listener.Addr().String(), certFile
}

// keep returns false, and closes the connection, once the test has ended.
func (p *proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close()
		return false
	}
	p.open = append(p.open, conn)
	return true
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, conn := range p.open {
		_ = conn.Close()
	}
}

// sslRequest is the length of Postgres' question whether a server has TLS.
const sslRequest = 8

func (p *proxy) serve(conn net.Conn) {
	if !p.keep(conn) {
		return
	}
	defer conn.Close()
	if p.postgres {
		if _, err := io.ReadFull(conn, make([]byte, sslRequest)); err != nil {
			return
		}
		if _, err := conn.Write([]byte("S")); err != nil {
			return
		}
	}
	client := tls.Server(conn, p.config)
	server, err := net.Dial("unix", p.backend) //nolint:noctx // of the test's own server
	if err != nil || !p.keep(server) {
		return
	}
	defer server.Close()
	p.group.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}
