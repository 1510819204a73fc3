package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/servers"

	"github.com/jackc/pgx/v5"
)

// failOverForgetting is the worst: the second site reads from the primary, which
// dies before the standby has what was read.
func failOverForgetting(r *rand.Rand, _ config) injection {
	behind := between(r, 300*time.Millisecond, 2*time.Second)
	return injection{
		what:  fmt.Sprintf("follow the primary, kill it when the standby is %s behind, promote it, build a new one", behind),
		needs: []string{resourceSource},
		run: func(ctx context.Context, c *chaos) error {
			if err := c.follow(ctx, c.site.source.Primary); err != nil {
				return err
			}
			if err := c.site.standby().CutOff(ctx); err != nil {
				return err
			}
			if err := pause.For(ctx, behind); err != nil {
				return err
			}
			if err := c.awaitBeyond(ctx, c.site.standby()); err != nil {
				return err
			}
			since := time.Now()
			if err := c.site.source.Primary.Kill(); err != nil {
				return err
			}
			return c.promote(ctx, since, true)
		},
	}
}

// beyondWait bounds the wait for a cursor that may be frozen.
const beyondWait = 3 * time.Second

// awaitBeyond returns when a cursor has read what the server does not show, or
// when none does so for a while.
func (c *chaos) awaitBeyond(ctx context.Context, server *servers.Postgres) error {
	conn, err := pgx.Connect(ctx, server.URL(databaseName))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var shown int64
	if err := conn.QueryRow(ctx, "SELECT max(id) FROM casq.ticks").Scan(&shown); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < beyondWait; {
		var beyond []string
		err := c.site.home.DB.QueryRow(ctx, "SELECT array_agg(name) FROM casq.cursors WHERE greatest(tick, to_tick) > $1", shown).Scan(&beyond)
		if err == nil && len(beyond) > 0 {
			c.journal.say("       read beyond tick %d, which is lost: %s", shown, strings.Join(beyond, ", "))
			return nil
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
	c.journal.say("       no cursor has read beyond tick %d", shown)
	return nil
}
