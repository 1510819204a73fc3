package database

import "strings"

// Text makes of any text one that Postgres can keep: valid UTF-8 without NUL, of
// at most limit bytes; 0: however long it is. What cannot be kept becomes "?".
func Text(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
	if limit > 0 && len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") // half a character at the end
	}
	return text
}
