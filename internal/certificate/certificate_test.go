package certificate

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"casq/internal/testing/tlsproxy"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARenewedCertificateIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := tlsproxy.KeyPair(t, dir, 1)
	c, err := Open(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.asked = time.Now().Add(-askedEvery)
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	renewed := time.Now().Add(time.Minute)
	tlsproxy.KeyPair(t, dir, 2)
	if err := os.Chtimes(certFile, renewed, renewed); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("the certificate is still number %d", got)
	}
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("half a file took the place of number 2: %d", got)
	}
}
