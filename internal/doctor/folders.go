package doctor

import (
	"context"
	"errors"
	"fmt"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/worker"
	"casq/transfer/folder"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// place is a source and its target, of one transfer.
type place struct {
	subject, transfer, target string
	open                      func(context.Context, worker.Config) (worker.Endpoints, error)
}

// folders looks at sources and targets, which are opened as a worker opens them.
func (d *doctor) folders(ctx context.Context, home *server) {
	var opened []worker.Endpoints
	for _, p := range []place{
		{Files, eventlog.TransferFile, d.cfg.ArtifactTarget, worker.OpenFiles},
		{Repositories, eventlog.TransferGit, d.cfg.RepositoryTarget, worker.OpenRepositories},
	} {
		if p.target == "" {
			d.skip(p.subject, "this worker copies none: no target is set", "source and target", "mark", "space", "writing")
			continue
		}
		e, err := d.openPlace(ctx, p)
		if err != nil {
			d.skip(p.subject, "they cannot be opened", "mark", "space", "writing")
			continue
		}
		defer e.Close()
		opened = append(opened, e)
		d.mark(ctx, home, p, e)
		d.space(p.subject, e)
	}
	if len(opened) < 2 { // nothing to be apart from
		return
	}
	if err := folder.Apart(opened[0], opened[1]); err != nil {
		d.add(Repositories, "apart from files", Error, "use separate folders", "%s", err)
		return
	}
	d.ok(Repositories, "apart from files", "no folder lies in another")
}

// openPlace says why a source or target is not one, in the words of what opens it.
func (d *doctor) openPlace(ctx context.Context, p place) (worker.Endpoints, error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	e, err := p.open(ctx, d.cfg)
	if err != nil {
		d.add(p.subject, "source and target", Error, "make or mount the folder, or correct the URL, and see what is said above of it", "%s", err)
		return nil, err
	}
	if err := e.Check(); err != nil {
		d.add(p.subject, "source and target", Error, "start the server at the source, or correct the URL, the token or the certificate's authority", "%s", err)
		_ = e.Close()
		return nil, err
	}
	what := "both are there"
	if p.subject == Repositories {
		what += ", and git is new enough"
	}
	d.ok(p.subject, "source and target", "%s", what)
	return e, nil
}

// mark compares the target's with home's row.
func (d *doctor) mark(ctx context.Context, home *server, p place, e worker.Endpoints) {
	if !home.fits {
		d.skip(p.subject, "home cannot be asked", "mark")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	var id, at string
	err := home.pool.QueryRow(ctx, doctorSQL.Target, p.transfer).Scan(&id, &at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		d.skip(p.subject, database.Explain(err), "mark")
		return
	}
	found, err := e.Mark(ctx)
	replace := fmt.Sprintf("mount what was at %s, or give it up: SELECT casq.replace_target('%s') in home", at, p.transfer)
	switch {
	case err != nil:
		d.add(p.subject, "mark", Error, "see to it that .casq/target in the target can be read", "%s", err)
	case found.ID == id && id != "" && found.Transfer == p.transfer:
		d.ok(p.subject, "mark", "it is this site's target")
	case id == "" && found.ID == "":
		d.ok(p.subject, "mark", "it becomes this site's target at the first start")
	case found.ID == "":
		d.add(p.subject, "mark", Error, replace, "it has no mark (.casq/target), and this site's target has one")
	case id == "":
		d.add(p.subject, "mark", Error, "use a folder or bucket of its own, or remove .casq/target there if nothing else uses it",
			"it has the mark of another site's target, or of one that home has forgotten")
	default:
		d.add(p.subject, "mark", Error, replace, "it is the target of another site, or of something else here")
	}
}

// The least space that is not worth a word: a share of a target, and bytes.
const (
	leastShare = 0.05
	leastBytes = 1 << 30
)

// space looks at whether the target's folder can be written, and how much fits in.
func (d *doctor) space(subject string, e worker.Endpoints) {
	target := e.TargetFolder()
	if target == nil {
		d.skip(subject, "the target is a bucket, in which nothing is tried", "space", "writing")
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(target.Name(), &st); err != nil {
		d.skip(subject, err.Error(), "space")
	} else {
		free, all := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
		found := fmt.Sprintf("%.1f of %.1f GiB are free", float64(free)/(1<<30), float64(all)/(1<<30))
		if free < leastBytes || float64(free) < leastShare*float64(all) {
			d.add(subject, "space", Warning, "give it more, or select less (enqueue select)", "%s", found)
		} else {
			d.ok(subject, "space", "%s", found)
		}
		if st.Files > 0 && st.Ffree < st.Files/20 {
			d.add(subject, "inodes", Warning, "make the file system anew with more inodes", "%d of %d are free", st.Ffree, st.Files)
		}
	}
	if name, without := target.WithoutLinks(); without {
		d.add(subject, "hard links", Warning, "nothing, if that is fast enough; otherwise a file system that has them (ext4, xfs, btrfs)",
			"%s has none: what gets another key is copied there, and needs the space twice meanwhile", name)
	}
	d.writing(subject, target.Name())
}

// writing tries it in a file without a name, which nobody sees and which is gone at once.
func (d *doctor) writing(subject, name string) {
	fd, err := unix.Open(name, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		_, err = unix.Write(fd, []byte("x"))
		_ = unix.Close(fd)
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR):
		d.skip(subject, "this file system has no files without a name to try it with", "writing")
	case err != nil:
		d.add(subject, "writing", Error, "give the worker's user the right to write there; is it mounted read-only, or full?", "%s", err)
	default:
		d.ok(subject, "writing", "a file was written, and is gone")
	}
}
