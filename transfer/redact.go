package transfer

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	// Up to the last @ before the path: a password may have one of its own.
	credentials = regexp.MustCompile(`://[^/\s]*@`)
	// What is no URL at all, and has a slash or a space in its password.
	anything   = regexp.MustCompile(`(?s)://.*@`)
	parameters = regexp.MustCompile(`([?&])([A-Za-z0-9_.-]+)=([^&\s]*)`)
)

// plain are the parameters of bucket URLs that hold no secrets.
var plain = map[string]bool{
	"prefix": true, "region": true, "endpoint": true, "profile": true, "anonymous": true, "use_path_style": true,
	"s3ForcePathStyle": true, "disable_https": true, "ssetype": true, "accelerate": true, "dualstack": true, "fips": true,
	"hostname_immutable": true, "rate_limiter_capacity": true, "request_checksum_calculation": true, "response_checksum_validation": true, "awssdk": true,
}

// Redact takes user names and passwords out of the URLs in text, and what their
// parameters say, but for those that are known to be harmless.
func Redact(text string) string {
	text = credentials.ReplaceAllString(text, "://***@")
	return parameters.ReplaceAllStringFunc(text, func(parameter string) string {
		parts := parameters.FindStringSubmatch(parameter)
		value, err := url.QueryUnescape(parts[3])
		if err == nil && plain[parts[2]] && !strings.Contains(value, "@") {
			return parameter
		}
		return parts[1] + parts[2] + "=***"
	})
}

// RedactAddress is redact for a text that is one address, which may be wrong.
func RedactAddress(text string) string { return Redact(anything.ReplaceAllString(text, "://***@")) }

// RedactError is the error of a library that quotes the URL it was given.
func RedactError(err error) error { return redacted{err} }

// redacted is an error of a library that quotes the URL it was given.
type redacted struct{ error }

// Error implements error.
func (r redacted) Error() string { return Redact(r.error.Error()) }

// Unwrap gives the cause.
func (r redacted) Unwrap() error { return r.error }
