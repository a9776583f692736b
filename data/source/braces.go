package source

import (
	"fmt"
	"strconv"
	"strings"
)

// mostBraces is how many paths a pattern may stand for.
const mostBraces = 1 << 17

// braces returns the paths that a shell's brace pattern stands for: {0000..0146}, {a,b}, also one in another.
func braces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}, nil
	}
	depth, closing := 0, -1
	var commas []int
scan:
	for i := open; i < len(pattern); i++ {
		switch pattern[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				commas = append(commas, i)
			}
		case '}':
			if depth--; depth == 0 {
				closing = i
				break scan
			}
		}
	}
	if closing < 0 {
		return nil, fmt.Errorf("the brace at byte %d of the pattern is not closed: correct data.path", open)
	}
	before, after := pattern[:open], pattern[closing+1:]
	var middles []string
	if len(commas) == 0 {
		var err error
		if middles, err = braceRange(pattern[open+1 : closing]); err != nil {
			return nil, err
		}
	}
	for from := open + 1; len(commas) > 0; {
		middles = append(middles, pattern[from:commas[0]])
		if from = commas[0] + 1; len(commas) == 1 {
			middles = append(middles, pattern[from:closing])
		}
		commas = commas[1:]
	}
	var all []string
	for _, m := range middles {
		some, err := braces(m + after)
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			all = append(all, before+s)
		}
		if len(all) > mostBraces {
			return nil, fmt.Errorf("the pattern stands for more than %d paths: correct data.path", mostBraces)
		}
	}
	return all, nil
}

// braceRange counts from the first number to the last, as wide as the wider of both is written.
func braceRange(s string) (numbers []string, err error) {
	from, to, ok := strings.Cut(s, "..")
	first, err1 := strconv.ParseUint(from, 10, 31)
	last, err2 := strconv.ParseUint(to, 10, 31)
	if !ok || err1 != nil || err2 != nil || first > last || last-first >= mostBraces {
		return nil, fmt.Errorf("{%s} is no range of numbers such as {0000..0146}, nor a list such as {a,b}: correct data.path", s)
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
