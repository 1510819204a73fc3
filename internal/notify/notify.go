// Package notify tells a service manager how a process is: systemd's sd_notify protocol,
// which is a datagram with a line to a Unix socket. A library for it brings all of
// systemd's interfaces along.
package notify

import (
	"net"
	"strings"
)

// Manager is who is told. The zero value is nobody.
type Manager struct {
	// Socket is its address, a path or an abstract name that begins with @.
	Socket string
}

// Ready says that the process answers.
func (m Manager) Ready() error { return m.send("READY=1") }

// Stopping says that it is about to end.
func (m Manager) Stopping() error { return m.send("STOPPING=1") }

// Alive says that it makes progress, for as long as the manager gives it.
func (m Manager) Alive() error { return m.send("WATCHDOG=1") }

// Status is a line for people.
func (m Manager) Status(line string) error {
	return m.send("STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line))
}

func (m Manager) send(state string) error {
	if m.Socket == "" {
		return nil
	}
	// Go takes a name with @ for an abstract one, as systemd writes it.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.Socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
