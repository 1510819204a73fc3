package transfer

import (
	"testing"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://u:p@host/x":                           "https://***@host/x",
		"fatal: 'https://u:p'q@host/x': no":            "fatal: 'https://***@host/x': no",
		"https://u:p@ss@host/x":                        "https://***@host/x",
		`https://u:p"@host/x`:                          `https://***@host/x`,
		"https://host/a@b":                             "https://host/a@b",
		"https://a@b/x https://c@d/y":                  "https://***@b/x https://***@d/y",
		"s3://b?secret=a'b&region=x":                   "s3://b?secret=***&region=x",
		"s3://b?region=x&endpoint=https://me:s@host":   "s3://b?region=x&endpoint=***",
		"no URL, but me@host and what: https://host/x": "no URL, but me@host and what: https://host/x",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
