// Package token is who has which secret: of people and programs that come over HTTP.
package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// Token is the secret of a person, or of a program.
type Token struct{ Name, Secret string }

// LeastSecret is how many characters a secret has at least: it is not worth guessing then.
const LeastSecret = 16

// MostName is how long a name may be, in bytes.
const MostName = 200

// Parse reads name:secret, one in a line, or with commas between them. A secret alone
// has the name "token".
func Parse(text string) ([]Token, error) {
	var tokens []Token
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		name, secret, named := strings.Cut(part, ":")
		if !named {
			name, secret = "token", part
		}
		if name == "" || len(name) > MostName || len(secret) < LeastSecret {
			return nil, fmt.Errorf("a token is name:secret, and its secret has %d characters or more", LeastSecret)
		}
		if slices.ContainsFunc(tokens, func(t Token) bool { return t.Name == name }) {
			return nil, fmt.Errorf("two tokens are named %q", name)
		}
		tokens = append(tokens, Token{name, secret})
	}
	return tokens, nil
}

// Named is whose secret it is; "": nobody's. All are compared, each in constant time.
func Named(tokens []Token, secret string) (name string) {
	given := sha256.Sum256([]byte(secret))
	for _, t := range tokens {
		if want := sha256.Sum256([]byte(t.Secret)); subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
			name = t.Name
		}
	}
	return name
}

// Bearer is the secret that a request brings in its header; false: it brings none.
func Bearer(r *http.Request) (secret string, found bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}
