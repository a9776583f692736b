package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Error is a mistake in what the user asked for: a configuration file, a setting, or a run directory that is taken.
// The program answers it with the exit code of a usage error. Its text is one line.
type Error struct {
	Where   string   // "run.toml:12" or "--set lte.rank=0"; empty where it is not known
	Keys    []string // the keys at fault, most to blame first; may be empty
	Problem string   // what is wrong, what was expected, what to do
	Err     error    // the cause, where there is one; may be nil
}

func (e *Error) Error() string {
	if e.Where == "" {
		return e.Problem
	}
	return e.Where + ": " + e.Problem
}

func (e *Error) Unwrap() error { return e.Err }

func unknownKey(where, name string) *Error {
	problem := fmt.Sprintf("unknown key %q; ", name)
	switch near := nearest(name); {
	case slices.Contains(sections, name):
		problem = fmt.Sprintf("%q is a section; name one of its keys, such as %q", name, firstKey(name))
	case len(near) > 0:
		problem += "did you mean " + strings.Join(near, " or ") + "?"
	default:
		problem += "the sections are " + strings.Join(sections, ", ")
	}
	return &Error{Where: where, Keys: []string{name}, Problem: problem}
}

func firstKey(section string) string {
	i := slices.IndexFunc(fields, func(f field) bool { return f.section == section })
	return fields[i].name
}

// nearest returns the quoted known keys (sections too, for a name without one) most like name, at most three, or
// none where nothing is like it. A misspelt section costs no more than one letter of the key itself, so that a right
// key in a wrong section is found:
//
//	distance = levenshtein(leaf of name, leaf of key) + [sections differ]
func nearest(name string) []string {
	name = strings.ToLower(name)
	section, leaf, dotted := strings.Cut(name, ".")
	if !dotted {
		section, leaf = "", name
	}
	best := 2 + len(leaf)/2 // from here on it is another word
	var near []string
	offer := func(known string, d int) {
		switch {
		case d < best:
			best, near = d, []string{strconv.Quote(known)}
		case d == best && len(near) > 0:
			near = append(near, strconv.Quote(known))
		}
	}
	for _, f := range fields {
		d := levenshtein.ComputeDistance(leaf, f.leaf)
		if section != f.section {
			d++
		}
		offer(f.name, d)
	}
	if !dotted { // an empty table
		for _, s := range sections {
			offer(s, levenshtein.ComputeDistance(leaf, s)+1)
		}
	}
	return near[:min(len(near), 3)]
}
