package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"
	"casq/jobs"

	"github.com/docker/go-units"
)

// text is the status for people, as of now.
func (s status) text(now time.Time) string {
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	ago := func(t time.Time) string { return max(now.Sub(t), 0).Round(time.Second).String() }

	s.Health.write(&out)
	fmt.Fprintln(table, "KIND\tSTATUS\tCOUNT\tIN PLACE\tOLDEST")
	for _, t := range s.Resources {
		oldest := "-"
		if t.Oldest != nil {
			oldest = ago(*t.Oldest) + " ago"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", t.Kind, t.Status, t.Count, units.BytesSize(float64(t.Bytes)), oldest)
	}
	if len(s.Resources) == 0 {
		fmt.Fprintln(table, "(none)")
	}
	s.printRisks(table, ago)
	fmt.Fprintf(table, "\nLOG\t%s\n", s.Log.describe(ago))
	fmt.Fprintln(table, "\nCURSOR\tTICK\tEVENTS BEHIND\tMOVED\tHOLDER")
	for _, c := range s.Cursors {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s ago\t%s\n", cli.Name(c.Name), c.Tick, c.behind(), ago(c.MovedAt), cli.Line(c.Holder))
	}
	if len(s.Cursors) == 0 {
		fmt.Fprintln(table, "(none: no worker with a target has run here)")
	}
	s.printCounters(table, ago)
	fmt.Fprintln(table, "\nPROCESS\tHOST\tPID\tSTARTED\tLAST BEAT")
	for _, p := range s.Processes {
		beat := ago(p.BeatAt) + " ago"
		if p.Dead {
			beat = "dead"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s ago\t%s\n", p.ID, cli.Name(p.Host), p.PID, ago(p.Since), beat)
	}
	if len(s.Processes) == 0 {
		fmt.Fprintln(table, "(none)")
	}
	s.printProblems(table, ago)
	_ = table.Flush()
	return out.String()
}

// write adds the sentence, and the other problems there are.
func (s health) write(out io.Writer) {
	fmt.Fprintln(out, cli.Line(s.Sentence))
	for i, p := range s.Problems {
		if i > 0 || s.OK {
			fmt.Fprintf(out, "  %s: %s (%s)\n", p.Severity, cli.Line(p.What), cli.Line(p.Command))
		}
	}
	fmt.Fprintln(out)
}

// printRisks adds what would be lost now, here with the source, and elsewhere with this site.
func (s status) printRisks(out io.Writer, ago func(time.Time) string) {
	if len(s.AtRisk) > 0 {
		fmt.Fprintln(out, "\nNOT IN PLACE\tRESOURCES\tBYTES")
	}
	for _, r := range s.AtRisk {
		fmt.Fprintf(out, "%s\t%d\t%s\n", r.Kind, r.Resources, units.BytesSize(r.Bytes))
	}
	if len(s.Followers) > 0 {
		fmt.Fprintln(out, "\nFOLLOWER\tEVENTS TO APPLY\tRESOURCES NOT IN PLACE\tBYTES\tREPORTED")
	}
	for _, f := range s.Followers {
		events, resources, bytes := "not known", "not known", "not known"
		if f.Events != nil {
			events = fmt.Sprint(*f.Events)
			if *f.More {
				events += " or more"
			}
		}
		if f.Resources != nil && f.Bytes != nil {
			resources, bytes = fmt.Sprint(*f.Resources), units.BytesSize(*f.Bytes)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s ago\n", cli.Name(f.Name), events, resources, bytes, ago(f.ReportedAt))
	}
}

// printCounters adds what there is where something is counted.
func (s status) printCounters(out io.Writer, ago func(time.Time) string) {
	for _, c := range s.Counters {
		fmt.Fprintf(out, "\nCOUNTERS\tflushed %s ago, the oldest event that was not is %.1f s old\n", ago(c.MovedAt), c.Age)
	}
	if len(s.Recounts) > 0 {
		fmt.Fprintln(out, "\nRECOUNT\tKIND\tASKED\tLEFT\tSTATE")
	}
	for _, r := range s.Recounts {
		left := fmt.Sprint(r.Scopes)
		if r.All {
			left = "all"
		}
		fmt.Fprintf(out, "%d\t%s\t%s ago\t%s\t%s\n", r.Scan, r.Kind, ago(r.RequestedAt), left, r.State)
	}
}

// printProblems adds what is only there when something needs attention.
func (s status) printProblems(out io.Writer, ago func(time.Time) string) {
	for _, c := range s.Cursors {
		if c.Error != "" {
			fmt.Fprintf(out, "\nCURSOR %s FAILED\t%s\n", cli.Name(c.Name), cli.Line(c.Error))
		}
	}
	if len(s.Failed) > 0 {
		fmt.Fprintln(out, "\nFAILED\tCOUNT\tFIRST\tLAST\tREASON")
	}
	for _, f := range s.Failed {
		fmt.Fprintf(out, "%s\t%d\t%s ago\t%s ago\t%s\n", f.Kind, f.Count, ago(f.First), ago(f.Last), cli.Line(f.Reason))
	}
	s.printQueues(out, ago)
	if len(s.Failures) > 0 {
		fmt.Fprintln(out, "\nPUT ASIDE BY\tKIND\tEVENTS\tOLDEST")
	}
	for _, f := range s.Failures {
		fmt.Fprintf(out, "%s\t%s\t%d\t%s ago (enqueue replay)\n", f.Cursor, f.Kind, f.Count, ago(f.Oldest))
	}
	if len(s.Runs) > 0 {
		fmt.Fprintln(out, "\nRECONCILE\tREASON\tASKED\tEXAMINED\tSTATE")
	}
	for _, r := range s.Runs {
		state := r.State
		if r.Waiting != "" {
			state += ": " + cli.Line(r.Waiting)
		}
		fmt.Fprintf(out, "%d\t%s\t%s ago\t%d\t%s\n", r.Run, r.Reason, ago(r.RequestedAt), r.Examined, state)
	}
}

// printQueues adds the queues that are paused, and jobs that died with their
// process.
func (s status) printQueues(out io.Writer, ago func(time.Time) string) {
	paused := slices.DeleteFunc(slices.Clone(s.Queues), func(q jobs.QueueState) bool { return q.PausedAt == nil })
	if len(paused) > 0 {
		fmt.Fprintln(out, "\nPAUSED QUEUE\tFOR\tWAITING")
	}
	for _, q := range paused {
		fmt.Fprintf(out, "%s\t%s\t%s\n", cli.Name(q.Name), ago(*q.PausedAt), atMost(q.Waiting))
	}
	for _, q := range s.Queues {
		if q.Lost > 0 {
			fmt.Fprintf(out, "\nLOST\t%s\t%s jobs of processes that are dead, handed on or soon to be\n", cli.Name(q.Name), atMost(q.Lost))
		}
	}
}

func (l logStatus) describe(ago func(time.Time) string) string {
	switch {
	case l.Error != "":
		return "not known: " + cli.Line(l.Error)
	case l.Elsewhere:
		return "another site's, which cursors here follow: set SOURCE_DATABASE_URL as for the worker to see it"
	case l.Tick == nil:
		return "no tick yet; when the log is another site's, set SOURCE_DATABASE_URL"
	case l.Stale:
		return fmt.Sprintf("WARNING: tick %d of timeline %d was taken %v ago and no tick since: no worker takes ticks on its primary, or this host is a standby that is not replicated to",
			*l.Tick, *l.Timeline, time.Duration(l.Age*float64(time.Second)).Round(time.Second))
	default:
		return fmt.Sprintf("tick %d of timeline %d, taken %s ago", *l.Tick, *l.Timeline, ago(*l.TakenAt))
	}
}

func (c *cursor) behind() string {
	switch {
	case c.Behind == nil:
		return "not known"
	case c.More:
		return fmt.Sprintf("%d or more", *c.Behind)
	default:
		return fmt.Sprint(*c.Behind)
	}
}
