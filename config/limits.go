package config

import (
	"fmt"
	"strings"
)

// Limits of a TOML text. A configuration with every key and its documentation has 15 KB, fewer than 200 keys, and brackets nested two
// deep; the TOML library needs minutes and gigabytes for much larger texts.
const (
	maxBytes   = 1 << 20
	maxKeys    = 8192 // equals signs and headers, including those within lists
	maxPlaces  = 300  // keys and tables outside of lists
	maxNesting = 16   // brackets within brackets, names in a dotted key
)

// measure reports a text that exceeds the limits, without parsing it: it counts brackets, dots, equals signs and headers outside of
// strings and comments. In invalid TOML it sees what precedes the mistake. The error is an *Error.
func measure(path, text string) error {
	if len(text) > maxBytes {
		return &Error{Where: path, Problem: fmt.Sprintf("%d bytes, but a configuration has at most %d", len(text), maxBytes)}
	}
	keys, brackets, dots := 0, 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '#':
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return nil
			}
			i += end - 1
		case '"', '\'':
			i += quoted(text[i:]) - 1
			continue
		case '[', '{':
			if brackets++; brackets == 1 {
				keys++ // of a header
			}
			dots = 0
		case ']', '}':
			brackets = max(0, brackets-1)
		case '=':
			keys++
			dots = 0
		case ',', '\n':
			dots = 0
		case '.':
			dots++
		}
		problem := ""
		switch {
		case brackets > maxNesting || dots > maxNesting:
			problem = fmt.Sprintf("nested more than %d deep, but no key of a configuration is", maxNesting)
		case keys > maxKeys:
			problem = tooMany(maxKeys)
		default:
			continue
		}
		return &Error{Where: fmt.Sprintf("%s:%d", path, 1+strings.Count(text[:i], "\n")), Problem: problem}
	}
	return nil
}

func tooMany(keys int) string {
	return fmt.Sprintf("more than %d keys, but a configuration has %d", keys, len(fields))
}

// quoted returns the length of the string at the start of text, in any of TOML's four forms; all of text if it is not closed.
func quoted(text string) int {
	quote := text[:1]
	if strings.HasPrefix(text, strings.Repeat(quote, 3)) {
		quote = text[:3]
	}
	for i := len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote[0] == '"':
			i++
		case strings.HasPrefix(text[i:], quote):
			i += len(quote)
			for range len(quote) - 1 { // up to two quotes before the end of a multi-line string belong to it
				if strings.HasPrefix(text[i:], quote[:1]) {
					i++
				}
			}
			return i
		}
	}
	return len(text)
}
