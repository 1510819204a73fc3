package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"casq/internal/testing/servers"
)

//go:embed keeper.sh
var keeperScript string

// keeperName is the script that starts, stops and removes what is kept.
const keeperName = "sites"

// keep stops the servers, which would end with this process, and starts them
// again without it.
func (d *demo) keep(ctx context.Context) error {
	script := d.work.path(keeperName)
	text, err := d.keeper()
	if err != nil {
		return err
	}
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		return fmt.Errorf("keep both sites: %w", err)
	}
	if err := d.stopSites(); err != nil {
		return fmt.Errorf("keep both sites: %w", err)
	}
	// Without pipes of ours: whoever waits for our output must not wait for
	// the servers, which have what the script has.
	cmd := exec.CommandContext(ctx, "/bin/sh", script, "start")
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := os.Create(d.work.path("sites.log"))
	if err != nil {
		return fmt.Errorf("keep both sites: %w", err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start the kept servers with %s start: %w (see %s)", script, err, said.Name())
	}
	d.kept = true
	return nil
}

func (d *demo) keeper() (string, error) {
	binaries, err := servers.FindPostgres()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(d.primary.Primary.Dir())
	if err != nil {
		return "", fmt.Errorf("read the servers' folder: %w", err)
	}
	owner := os.Geteuid()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	return strings.NewReplacer(
		"{{dir}}", shellQuote(d.work.dir),
		"{{bin}}", shellQuote(binaries.Dir),
		"{{user}}", strconv.Itoa(owner),
	).Replace(keeperScript), nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
