package httpreplica

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// longestCookie is as long as a sealed token may be: token, dot, signature.
const longestCookie = longestToken + 1 + 43

// seal signs a token with the first key, if there is one. The name is signed too, so
// that the value of one cookie is none of another.
func seal(keys [][]byte, name, token string) string {
	if len(keys) == 0 {
		return token
	}
	return token + "~" + signature(keys[0], name, token)
}

// open returns the token of a cookie's value, or what is none.
func open(keys [][]byte, name, value string) string {
	if len(value) > longestCookie {
		return unreadable
	}
	if len(keys) == 0 {
		return value
	}
	token, signed, _ := strings.Cut(value, "~")
	for _, key := range keys {
		if hmac.Equal([]byte(signed), []byte(signature(key, name, token))) {
			return token
		}
	}
	return unreadable
}

func signature(key []byte, name, token string) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte("casq/replica/httpreplica\x00" + name + "\x00" + token)) // It never fails.
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
