package eventlog

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestPositionsAreTexts(t *testing.T) {
	t.Parallel()
	for _, p := range []Position{
		{},
		{System: 7, Timeline: Timeline{2, uuid.New()}, Tick: 50, Nonce: uuid.New()},
		{System: -1, Timeline: Timeline{1<<31 - 1, uuid.New()}, Tick: 1<<63 - 1, Nonce: uuid.New(), ToTick: 60, ToNonce: uuid.New(), Page: 1000},
	} {
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Position
		if err := got.UnmarshalText(text); err != nil || got != p {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, p)
		}
	}
}

func TestTextsThatAreNoPosition(t *testing.T) {
	t.Parallel()
	good, _ := Position{System: 7, Tick: 50}.MarshalText()
	parts := strings.Split(string(good), "/")
	texts := []string{"", "x", string(good) + "/", strings.Join(parts[1:], "/")}
	for i := range parts {
		bad := append([]string(nil), parts...)
		bad[i] = "x"
		texts = append(texts, strings.Join(bad, "/"))
	}
	parts[1] = "2147483648" // an ordinal that is too large
	texts = append(texts, strings.Join(parts, "/"))
	for _, text := range texts {
		was := Position{Tick: 3}
		got := was
		if err := got.UnmarshalText([]byte(text)); err == nil || got != was {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}
