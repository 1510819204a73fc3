// Package dnshosts finds the standbys of package replica in DNS, and asks again when
// the answer's TTL has passed:
//
//	replica.Options{Standbys: dnshosts.SRV("_postgres._tcp.standby.example.org", "postgres://app@{host}:{port}/app")}
//
// [A] takes the addresses of a name, [SRV] the targets and ports of a service. The
// connection string is a template with {host}, and {port} for SRV. With A the host is an
// address: TLS that verifies names (sslmode=verify-full) needs SRV.
//
// # What DNS may answer
//
// A name that does not exist, an empty answer, a server that fails or does not answer:
// an error, and the standbys stay what they were, for package replica asks again and
// logs it. A TTL below [Resolver.MinTTL], 0 included, is taken for that. Of more than
// [Resolver.MaxHosts] answers the first in order are taken, the same ones each time.
// Priorities and weights of
// SRV do not count: which standby is read from is decided by what it has replayed.
package dnshosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"casq/replica"

	"github.com/miekg/dns"
)

// Resolver asks DNS servers. The zero value asks those of /etc/resolv.conf.
type Resolver struct {
	// Servers are addresses with ports. Nil is those of /etc/resolv.conf.
	Servers []string
	// Timeout bounds each question to each server. Defaults to 2 s.
	Timeout time.Duration
	// MinTTL and MaxTTL bound after how long DNS is asked again. They default to 5 s
	// and 5 min.
	MinTTL, MaxTTL time.Duration
	// MaxHosts bounds the standbys. Defaults to 64.
	MaxHosts int
}

// A lists the addresses of name, of both families, by the zero [Resolver].
func A(name, template string) replica.Discovery { return Resolver{}.A(name, template) }

// SRV lists the targets of service, by the zero [Resolver].
func SRV(service, template string) replica.Discovery { return Resolver{}.SRV(service, template) }

// A lists the addresses of name, A and AAAA, for a template with {host}.
func (r Resolver) A(name, template string) replica.Discovery {
	return r.discovery(name, template, []uint16{dns.TypeA, dns.TypeAAAA}, false)
}

// SRV lists the targets of service, for a template with {host} and {port}.
func (r Resolver) SRV(service, template string) replica.Discovery {
	return r.discovery(service, template, []uint16{dns.TypeSRV}, true)
}

// target is a host that DNS names.
type target struct{ host, port string }

func (r Resolver) discovery(name, template string, kinds []uint16, port bool) replica.Discovery {
	r.Timeout = cmp.Or(r.Timeout, 2*time.Second)
	r.MinTTL = cmp.Or(r.MinTTL, 5*time.Second)
	r.MaxTTL = cmp.Or(r.MaxTTL, 5*time.Minute)
	r.MaxHosts = cmp.Or(r.MaxHosts, 64)
	return func(ctx context.Context) ([]string, time.Duration, error) {
		if !strings.Contains(template, "{host}") || strings.Contains(template, "{port}") != port {
			return nil, r.MinTTL, fmt.Errorf("look up %s: the template %q needs {host}, and {port} with SRV only", name, redacted(template))
		}
		targets, ttl, err := r.lookup(ctx, dns.Fqdn(name), kinds)
		if err != nil {
			return nil, r.MinTTL, fmt.Errorf("look up %s: %w", name, err)
		}
		return fill(template, targets[:min(len(targets), r.MaxHosts)]), min(max(ttl, r.MinTTL), r.MaxTTL), nil
	}
}

// redacted keeps a template's password out of messages.
func redacted(template string) string {
	if at := strings.LastIndex(template, "@"); at >= 0 {
		return "..." + template[at:]
	}
	return "..."
}

func fill(template string, targets []target) []string {
	urls := make([]string, len(targets))
	for i, t := range targets {
		host := t.host
		if strings.Contains(host, ":") && strings.Contains(template, "://") {
			host = "[" + host + "]"
		}
		urls[i] = strings.NewReplacer("{host}", host, "{port}", t.port).Replace(template)
	}
	return urls
}

// lookup returns what is found under name, in an order of its own, and the shortest
// TTL.
func (r Resolver) lookup(ctx context.Context, name string, kinds []uint16) (targets []target, ttl time.Duration, err error) {
	servers := r.Servers
	if len(servers) == 0 {
		config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, 0, fmt.Errorf("read the list of DNS servers: %w", err)
		}
		for _, server := range config.Servers {
			servers = append(servers, net.JoinHostPort(server, config.Port))
		}
	}
	ttl = r.MaxTTL
	for _, kind := range kinds {
		answer, err := r.ask(ctx, servers, name, kind)
		if err != nil {
			return nil, 0, err
		}
		for _, record := range answer.Answer {
			if found, ok := targetOf(record); ok {
				targets = append(targets, found)
			}
			// Also that of an alias on the way.
			ttl = min(ttl, time.Duration(record.Header().Ttl)*time.Second)
		}
	}
	if len(targets) == 0 {
		return nil, 0, errors.New("the answer names no host")
	}
	slices.SortFunc(targets, func(a, b target) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.port, b.port))
	})
	return slices.Compact(targets), ttl, nil
}

func targetOf(record dns.RR) (target, bool) {
	switch record := record.(type) {
	case *dns.A:
		return target{host: record.A.String()}, true
	case *dns.AAAA:
		return target{host: record.AAAA.String()}, true
	case *dns.SRV:
		host := strings.TrimSuffix(record.Target, ".") // "." alone: there is no such service here.
		return target{host, strconv.Itoa(int(record.Port))}, host != ""
	default:
		return target{}, false
	}
}

// ask asks the servers in turn until one answers; what does not fit into a datagram is
// asked for again by TCP.
func (r Resolver) ask(ctx context.Context, servers []string, name string, kind uint16) (*dns.Msg, error) {
	var question dns.Msg
	question.SetQuestion(name, kind)
	question.SetEdns0(1232, false) // What passes every network.
	errs := []error{errors.New("no DNS server is configured")}
	for i, server := range servers {
		if i == 0 {
			errs = nil
		}
		answer, err := r.exchange(ctx, &question, server)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("ask %s: %w", server, err))
		case answer.Rcode == dns.RcodeNameError:
			return nil, errors.New("there is no such name")
		case answer.Rcode != dns.RcodeSuccess:
			errs = append(errs, fmt.Errorf("ask %s: it answers %s", server, dns.RcodeToString[answer.Rcode]))
		default:
			return answer, nil
		}
	}
	return nil, errors.Join(errs...)
}

func (r Resolver) exchange(ctx context.Context, question *dns.Msg, server string) (*dns.Msg, error) {
	client := dns.Client{Timeout: r.Timeout}
	answer, _, err := client.ExchangeContext(ctx, question, server)
	if err == nil && answer.Truncated {
		client.Net = "tcp"
		answer, _, err = client.ExchangeContext(ctx, question, server)
	}
	return answer, err
}
