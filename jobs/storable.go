package jobs

import "casq/internal/database"

// storable is an error whose text Postgres can keep. River stores it as JSON,
// and completes jobs in batches: one NUL, which git passes on from a remote that
// breaks off, had every batch with that job in it refused, again and again, and
// 15,000 finished jobs were still running for three minutes.
type storable struct{ error }

// forRiver returns err with a text that can be stored; nil for nil.
func forRiver(err error) error {
	if err == nil {
		return nil
	}
	return storable{err}
}

// Error implements error.
func (s storable) Error() string {
	return database.Text(s.error.Error(), 0)
}

// Unwrap lets River find what it looks for.
func (s storable) Unwrap() error { return s.error }
