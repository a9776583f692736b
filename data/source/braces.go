package source

import (
	"fmt"
	"strconv"
	"strings"
)

// maxBraces is the largest number of paths of a pattern.
const maxBraces = 1 << 17

// braces expands a shell's brace pattern to paths: {0000..0146}, {a,b}, also nested.
func braces(pattern string) (all []string, err error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}, nil
	}
	var choices []string
	depth, from, closing := 0, open+1, -1
	for i := open; i < len(pattern) && closing < 0; i++ {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			depth--
		}
		switch {
		case depth == 0:
			closing = i
		case depth == 1 && pattern[i] == ',':
			choices, from = append(choices, pattern[from:i]), i+1
		}
	}
	if closing < 0 {
		return nil, fmt.Errorf("the brace at byte %d of the pattern is not closed: correct data.path", open)
	}
	if choices == nil {
		choices, err = braceRange(pattern[from:closing])
	} else {
		choices = append(choices, pattern[from:closing])
	}
	for _, c := range choices {
		some, err := braces(c + pattern[closing+1:])
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			all = append(all, pattern[:open]+s)
		}
		if len(all) > maxBraces {
			return nil, fmt.Errorf("the pattern stands for more than %d paths: correct data.path", maxBraces)
		}
	}
	return all, err
}

// braceRange returns the integers of a range such as 0000..0146, padded to the longer bound if one has leading zeros.
func braceRange(s string) (numbers []string, err error) {
	from, to, ok := strings.Cut(s, "..")
	first, err1 := strconv.ParseUint(from, 10, 31)
	last, err2 := strconv.ParseUint(to, 10, 31)
	if !ok || err1 != nil || err2 != nil || first > last || last-first >= maxBraces {
		return nil, fmt.Errorf("{%s} is neither a range such as {0000..0146} nor a list such as {a,b}: correct data.path", s)
	}
	width := 0
	if len(from) > 1 && from[0] == '0' || len(to) > 1 && to[0] == '0' {
		width = max(len(from), len(to))
	}
	for n := first; n <= last; n++ {
		numbers = append(numbers, fmt.Sprintf("%0*d", width, n))
	}
	return numbers, nil
}
