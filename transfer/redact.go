package transfer

import "regexp"

var credentials = regexp.MustCompile(`://[^/@\s'"]+@`)

// redact takes user names and passwords out of the URLs in text.
func redact(text string) string {
	return credentials.ReplaceAllString(text, "://***@")
}
