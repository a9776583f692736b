// Package quote makes text from outside the program (names of files, classes and hosts, contents of files, errors that hold such)
// fit to be printed: it cannot start a line of its own, move the cursor, or change the direction of the text around it.
package quote

import (
	"errors"
	"strconv"
	"strings"
)

// Text returns s as one line of printable characters: what is no printable character or space (unicode.IsPrint), such as a newline,
// an escape, a bidirectional override or a byte that is no UTF-8, as Go's escape of it. Other text stays as it is.
func Text(s string) string {
	quoted := strconv.Quote(s)
	return unescape(quoted[1 : len(quoted)-1])
}

// unescape restores the printable characters that strconv.Quote escapes.
var unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace

// Error is the text of an error, as Text: a line for each error that errors.Join joined, and one for any other.
func Error(err error) string {
	wrapper, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return Text(err.Error())
	}
	if joined := errors.Join(wrapper.Unwrap()...); joined == nil || joined.Error() != err.Error() {
		return Text(err.Error())
	}
	var lines []string
	for _, e := range wrapper.Unwrap() {
		lines = append(lines, Error(e))
	}
	return strings.Join(lines, "\n")
}
