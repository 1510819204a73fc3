// Package visible shows texts that others have chosen, such as keys, errors and names of
// hosts: characters that no one sees, and those that a terminal or a page takes for commands
// (a text that is read from right to left), are written out.
package visible

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text replaces all characters that are not graphic, but those to keep, by \u and their
// number; what ends a line by \n.
func Text(text, keep string) string {
	var out strings.Builder
	for i, r := range text {
		switch _, size := utf8.DecodeRuneInString(text[i:]); {
		case r == utf8.RuneError && size == 1:
			out.WriteString(unicodeEscape(utf8.RuneError))
		case unicode.IsGraphic(r), strings.ContainsRune(keep, r):
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		default:
			out.WriteString(unicodeEscape(r))
		}
	}
	return out.String()
}

// unicodeEscape is that of JSON, where what lies beyond 16 bits is a pair.
func unicodeEscape(r rune) string {
	const form = `\u0000`
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return unicodeEscape(high) + unicodeEscape(low)
	}
	digits := strconv.FormatInt(int64(r), 16)
	return form[:len(form)-len(digits)] + digits
}
