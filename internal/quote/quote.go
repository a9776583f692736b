// Package quote makes text from outside the program (names of files, classes and hosts, contents of files, errors that hold such)
// fit to be printed: it cannot start a line of its own, move the cursor, or change the direction of the text around it.
package quote

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s as one line of printable characters: what is no printable character or space (unicode.IsPrint), such as a newline,
// an escape, a bidirectional override or a byte that is no UTF-8, as Go's escape of it. Other text stays as it is.
func Text(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if printable(r, n) {
			b.WriteRune(r)
		} else {
			q := strconv.Quote(s[:n])
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

func clean(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func printable(r rune, n int) bool { return unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) }

// Error is the text of an error, as Text: a line for each error that errors.Join joined, and one for any other.
func Error(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && err.Error() == join(joined.Unwrap()) {
		var lines []string
		for _, e := range joined.Unwrap() {
			lines = append(lines, Error(e))
		}
		return strings.Join(lines, "\n")
	}
	return Text(err.Error())
}

// join is what errors.Join says.
func join(all []error) string {
	texts := make([]string, len(all))
	for i, e := range all {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "\n")
}
