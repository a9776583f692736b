package quote

import (
	"errors"
	"fmt"
	"testing"
)

func TestTextIsOnePrintableLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"plain, 1 µs «é» 字":     "plain, 1 µs «é» 字",
		"a\nlte: b":             `a\nlte: b`,
		"\x1b[2J\r":             `\x1b[2J\r`,
		"\u202egnp.exe":         `\u202egnp.exe`,
		"\u009b31m":             `\u009b31m`,
		"\xff\xfe":              `\xff\xfe`,
		"\u2028":                `\u2028`,
		`C:\new "x"`:            `C:\new "x"`,
		"a tab\tand \U000e0041": `a tab\tand \U000e0041`,
		"\ufffd":                "\ufffd",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

// Fails if a newline within an error is taken for one between errors, or the other way round.
func TestErrorIsALineForEachOfJoined(t *testing.T) {
	a, b := errors.New("a\nb"), errors.New("c")
	for _, c := range []struct {
		err  error
		want string
	}{
		{a, `a\nb`},
		{errors.Join(a, b), "a\\nb\nc"},
		{errors.Join(errors.Join(a, b), b), "a\\nb\nc\nc"},
		{fmt.Errorf("reading %w and %w", a, b), `reading a\nb and c`},
		{fmt.Errorf("reading: %w", errors.Join(a, b)), `reading: a\nb\nc`},
	} {
		if got := Error(c.err); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
