package dnshosts_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/dnshosts"

	"github.com/miekg/dns"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// zone is a private DNS server: names and their records, which may change.
type zone struct {
	address string
	records atomic.Pointer[map[string][]string]
}

func serve(t *testing.T, records map[string][]string) *zone {
	t.Helper()
	z := &zone{}
	z.records.Store(&records)
	var listener net.ListenConfig
	stream, err := listener.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z.address = stream.Addr().String()
	packets, err := listener.ListenPacket(t.Context(), "udp", z.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{Listener: stream, Handler: z}, {PacketConn: packets, Handler: z}} {
		started, done := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(done)
			_ = server.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return z
}

func (z *zone) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg).SetReply(question)
	asked := question.Question[0]
	lines, known := (*z.records.Load())[asked.Name]
	if !known {
		answer.Rcode = dns.RcodeNameError
	}
	for _, line := range lines {
		if line == "SERVFAIL" {
			answer.Rcode = dns.RcodeServerFailure
			break
		}
		record, err := dns.NewRR(asked.Name + " " + line)
		if err != nil {
			panic(err)
		}
		if kind := record.Header().Rrtype; kind == asked.Qtype || kind == dns.TypeCNAME {
			answer.Answer = append(answer.Answer, record)
		}
	}
	answer.Compress = true
	if w.RemoteAddr().Network() == "udp" {
		answer.Truncate(1232)
	}
	_ = w.WriteMsg(answer)
}

func (z *zone) resolver() dnshosts.Resolver {
	return dnshosts.Resolver{Servers: []string{z.address}, Timeout: 10 * time.Second}
}

func thousands(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("60 IN A 10.0.%d.%d", i/256, i%256))
	}
	return lines
}

func TestWhatDNSAnswers(t *testing.T) {
	t.Parallel()
	z := serve(t, map[string][]string{
		"both.test.":    {"60 IN A 10.0.0.2", "30 IN AAAA 2001:db8::1", "60 IN A 10.0.0.1", "60 IN A 10.0.0.1"},
		"service.test.": {"40 IN SRV 0 0 5433 two.test.", "40 IN SRV 9 9 5432 one.test."},
		"none.test.":    {"40 IN SRV 0 0 0 ."},
		"empty.test.":   {},
		"zero.test.":    {"0 IN A 10.0.0.1"},
		"long.test.":    {"4000000 IN A 10.0.0.1"},
		"many.test.":    thousands(3000),
		"broken.test.":  {"SERVFAIL"},
	})
	address, service := "postgres://app@{host}/app", "postgres://app@{host}:{port}/app"
	for name, c := range map[string]struct {
		discovery replica.Discovery
		want      []string
		again     time.Duration
		err       string
	}{
		"addresses":  {z.resolver().A("both.test", address), []string{"postgres://app@10.0.0.1/app", "postgres://app@10.0.0.2/app", "postgres://app@[2001:db8::1]/app"}, 30 * time.Second, ""},
		"words":      {z.resolver().A("zero.test", "host={host} user=app"), []string{"host=10.0.0.1 user=app"}, 5 * time.Second, ""},
		"service":    {z.resolver().SRV("service.test", service), []string{"postgres://app@one.test:5432/app", "postgres://app@two.test:5433/app"}, 40 * time.Second, ""},
		"TTL 0":      {z.resolver().A("zero.test", address), []string{"postgres://app@10.0.0.1/app"}, 5 * time.Second, ""},
		"long TTL":   {z.resolver().A("long.test", address), []string{"postgres://app@10.0.0.1/app"}, 5 * time.Minute, ""},
		"no name":    {z.resolver().A("nobody.test", address), nil, 5 * time.Second, "no such name"},
		"empty":      {z.resolver().A("empty.test", address), nil, 5 * time.Second, "names no host"},
		"no service": {z.resolver().SRV("none.test", service), nil, 5 * time.Second, "names no host"},
		"fails":      {z.resolver().A("broken.test", address), nil, 5 * time.Second, "SERVFAIL"},
		"no {host}":  {z.resolver().A("both.test", "postgres://app:secret@db/app"), nil, 5 * time.Second, "{host}"},
		"no {port}":  {z.resolver().SRV("service.test", address), nil, 5 * time.Second, "{port}"},
	} {
		got, again, err := c.discovery(t.Context())
		if !slices.Equal(got, c.want) || again != c.again {
			t.Errorf("%s: %q, again in %s; want %q, %s", name, got, again, c.want, c.again)
		}
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
	// Truncated by UDP, and bounded: the same hosts each time.
	first, _, err := z.resolver().A("many.test", address)(t.Context())
	if err != nil || len(first) != 64 {
		t.Fatalf("%d hosts of 3000, %v; want 64", len(first), err)
	}
	if second, _, _ := z.resolver().A("many.test", address)(t.Context()); !slices.Equal(first, second) {
		t.Error("other hosts the second time")
	}
}

// TestTheNextServerIsAsked where the first does not answer.
func TestTheNextServerIsAsked(t *testing.T) {
	t.Parallel()
	z := serve(t, map[string][]string{"a.test.": {"60 IN A 10.0.0.1"}})
	silent, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := dnshosts.Resolver{Servers: []string{silent.LocalAddr().String(), z.address}, Timeout: 50 * time.Millisecond}
	if got, _, err := r.A("a.test", "{host}")(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.A("a.test", "{host}")(ctx); err == nil {
		t.Error("it was asked although the context had ended")
	}
}

// TestAStandbyIsFoundAndKept: what DNS forgets stays in use, and what it replaces goes.
func TestAStandbyIsFoundAndKept(t *testing.T) {
	long.Test(t)
	t.Parallel()
	bench := replicatest.New(t, 1)
	// The servers of tests have no addresses; what DNS says is a part of the string.
	url := bench.URLs()[0]
	z := serve(t, map[string][]string{"db.test.": {"0 IN A 10.0.0.1"}})
	r := z.resolver()
	r.MinTTL = 10 * time.Millisecond
	db := bench.Open(t, replica.Options{Standbys: r.A("db.test", url+"&application_name={host}")})
	if hosts := db.Hosts(); len(hosts) != 1 {
		t.Fatalf("hosts %v", hosts)
	}
	z.records.Store(&map[string][]string{"db.test.": {"0 IN A 10.0.0.1", "0 IN A 10.0.0.2"}})
	count := func(n int) func() error {
		return func() error {
			if got := len(db.Hosts()); got != n {
				return fmt.Errorf("%d hosts, want %d", got, n)
			}
			return nil
		}
	}
	replicatest.Until(t, "a second address is found", count(2))
	z.records.Store(&map[string][]string{})
	if _, _, err := r.A("db.test", "{host}")(t.Context()); err == nil {
		t.Error("the name is still there")
	}
	if err := count(2)(); err != nil {
		t.Errorf("after the name was gone: %v", err)
	}
}

func ExampleSRV() {
	options := replica.Options{
		Standbys: dnshosts.SRV("_postgres._tcp.standby.example.org", "postgres://app@{host}:{port}/app"),
	}
	fmt.Println(options.Standbys != nil)
	// Output: true
}
