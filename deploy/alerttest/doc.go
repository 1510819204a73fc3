// Package alerttest proves deploy/alerts.yml: each alert by its fault, played on private
// servers with a real worker, and that none is told without one.
//
// What is scraped goes through Prometheus' own parser of rules and its own engine of
// expressions. Time is that of the samples: a scrape of a site with a fault is taken to
// repeat itself for as long as the fault stays, with its ages growing, so that nobody waits
// for the minutes that an alert does.
//
// It is a module of its own, so that Prometheus is no dependency of casq's. promtool, which
// has the same in one program, takes six minutes of CPU to build: it comes with what finds
// targets in each cloud.
package alerttest
