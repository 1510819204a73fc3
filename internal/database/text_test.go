package database_test

import (
	"testing"

	"casq/internal/database"
)

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"as it is", 0, "as it is"},
		{"a\x00b\xff\xfec", 0, "a?b?c"},
		{"grüße", 3, "gr"},
		{"grüße", 4, "grü"},
		{"grüße", 7, "grüße"},
		{"", 1, ""},
	} {
		if got := database.Text(c.text, c.limit); got != c.want {
			t.Errorf("%q, %d: got %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}
