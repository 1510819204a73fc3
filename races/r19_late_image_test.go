package races

import (
	"testing"
)

const (
	r19Table = `CREATE TABLE artifacts (path text PRIMARY KEY, project_id bigint, size bigint, sha256 text)`
	r19Track = `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['sha256'])`
	// The user's own trigger computes what the program does not know: here the
	// checksum, in a second update of the same row.
	r19Trigger = `CREATE FUNCTION checksum() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN UPDATE artifacts SET sha256 = 'checksum of ' || NEW.size WHERE path = NEW.path; RETURN NULL; END $$;
		CREATE TRIGGER checksum AFTER INSERT OR UPDATE OF size ON artifacts FOR EACH ROW EXECUTE FUNCTION checksum()`
	r19Twin = `SELECT casq.define_kind('artifact', 'file');
		CREATE FUNCTION log_image() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO casq.events (kind, resource_id, op, payload)
			SELECT 'artifact', n.path, 'updated', jsonb_build_object('size', n.size, 'sha256', n.sha256) FROM new_rows AS n;
			RETURN NULL;
		END $$;
		CREATE TRIGGER log_insert AFTER INSERT ON artifacts REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION log_image();
		CREATE TRIGGER log_update AFTER UPDATE ON artifacts REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION log_image()`
	r19ByHand  = `SELECT casq.define_kind('artifact', 'file')`
	r19Newest  = `SELECT payload::text FROM casq.events WHERE resource_id = 'a' ORDER BY id DESC LIMIT 1`
	r19Present = `SELECT jsonb_build_object('size', size, 'sha256', sha256)::text FROM artifacts WHERE path = 'a'`
)

// r19Cases are the ways in which the older image gets the higher id.
var r19Cases = []struct {
	name, twin, given, write string // twin is what goes wrong in this way
}{
	{"insert", r19Twin, r19Trigger, `INSERT INTO artifacts VALUES ('a', 1, 5)`},
	{"update", r19Twin, r19Trigger, `INSERT INTO artifacts VALUES ('a', 1, 1); UPDATE artifacts SET size = 5`},
	{"appended before the update", r19ByHand, `SELECT 1`, `INSERT INTO artifacts VALUES ('a', 1, 1, 'old'); BEGIN;
		SELECT casq.append_event('artifact', path, 'updated', jsonb_build_object('size', size, 'sha256', sha256)) FROM artifacts WHERE path = 'a';
		UPDATE artifacts SET size = 5, sha256 = 'new' WHERE path = 'a';
		COMMIT`},
}

// TestR19LateImage: an AFTER ROW trigger updates the row just written. Its
// statement ends inside the user's, and logs the newer row first; then the
// user's statement ends and logs the older image that its transition table
// holds, under the higher id. Whoever takes the highest id for the newest copies
// the wrong content, and says that all is well. The same happens to a program
// that appends its event before its update. So the payload is read from the
// table when the event is appended, and the table's own trigger, which comes
// with the last change, has the last word.
func TestR19LateImage(t *testing.T) {
	t.Parallel()
	play := func(log string, wantNewest bool) func(t *testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			for _, c := range r19Cases {
				if log != r19Track && log != c.twin {
					continue
				}
				pool := database(t, r19Table, c.given, log, c.write)
				newest, present := lines(t, pool, r19Newest), lines(t, pool, r19Present)
				if (newest == present) != wantNewest {
					t.Errorf("%s: the newest event says %s, the row %s; want the same: %v", c.name, newest, present, wantNewest)
				}
			}
		}
	}
	t.Run("twin/payload from the transition table", play(r19Twin, false))
	t.Run("twin/appended before the update", play(r19ByHand, false))
	t.Run("ours", play(r19Track, true))
}
