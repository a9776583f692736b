package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lte/internal/quote"

	"github.com/agnivade/levenshtein"
)

// Error is a usage error: in a configuration file, a setting, or a run directory that is in use. The program exits with the code
// of usage errors. The text is one line.
type Error struct {
	Where   string   // "run.toml:12" or "--set lora.rank=0"; empty where it is not known
	Keys    []string // the keys at fault, most important first; may be empty
	Problem string   // what is wrong, what was expected, what to do
	Err     error    // the cause, where there is one; may be nil
}

func (e *Error) Error() string {
	text := e.Problem
	if e.Where != "" {
		text = e.Where + ": " + text
	}
	return shorten(quote.Text(text))
}

// maxText is the length of an error's text in bytes above which its middle is left out: it may quote a value of any length.
const maxText = 2000

func shorten(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText/2], "") + " … " + strings.ToValidUTF8(text[len(text)-maxText/2:], "")
}

func (e *Error) Unwrap() error { return e.Err }

func unknownKey(where, name string) *Error {
	problem := fmt.Sprintf("unknown key %q; ", name)
	switch near := nearest(name, fields, sections); {
	case moved[name] != "":
		problem += fmt.Sprintf("it was renamed to %q", moved[name])
	case slices.Contains(sections, name):
		problem = fmt.Sprintf("%q is a section; name one of its keys, such as %q",
			name, fields[slices.IndexFunc(fields, func(f field) bool { return f.section == name })].Name)
	case len(near) > 0:
		problem += "did you mean " + strings.Join(near, " or ") + "?"
	default:
		problem += "the sections are " + strings.Join(sections, ", ")
	}
	return &Error{Where: where, Keys: []string{name}, Problem: problem}
}

// moved maps former names of keys to their present names, where the nearest known key is another one.
var moved = map[string]string{"lte.merge_every": "merge.every", "data.name": "data.path"}

// unknownIn is unknownKey for a key of a table in a list.
func unknownIn(table field, name string) *Error {
	problem := fmt.Sprintf("%s: unknown key %q; ", table.Name, name)
	if near := nearest(name, table.keys, nil); len(near) > 0 {
		problem += "did you mean " + strings.Join(near, " or ") + "?"
	} else {
		problem += "the keys are " + table.leaves()
	}
	return &Error{Keys: []string{table.Name + "." + name}, Problem: problem}
}

// leaves returns the keys of a table, separated by commas.
func (f field) leaves() string {
	names := make([]string, len(f.keys))
	for i, key := range f.keys {
		names[i] = key.leaf
	}
	return strings.Join(names, ", ")
}

// nearest returns the quoted known keys (and sections, for a name without one) most similar to name, at most three, or none
// if nothing is similar. A wrong section costs no more than one letter of the key, so that a right key in a wrong section is found:
//
//	distance = levenshtein(leaf of name, leaf of key) + [sections differ]
func nearest(name string, known []field, sections []string) []string {
	if len(name) > 100 { // similar to no key, and slow to compare
		return nil
	}
	name = strings.ToLower(name)
	section, leaf, dotted := strings.Cut(name, ".")
	if !dotted {
		section, leaf = "", name
	}
	best := 2 + len(leaf)/2 // distances from this on mean another word
	var near []string
	offer := func(name string, d int) {
		switch {
		case d < best:
			best, near = d, []string{strconv.Quote(name)}
		case d == best && len(near) > 0:
			near = append(near, strconv.Quote(name))
		}
	}
	for _, f := range known {
		d := levenshtein.ComputeDistance(leaf, f.leaf)
		if section != f.section {
			d++
		}
		offer(f.Name, d)
	}
	if !dotted { // an empty table, or a key of a list's table, which has no sections
		for _, s := range sections {
			offer(s, levenshtein.ComputeDistance(leaf, s)+1)
		}
	}
	return near[:min(len(near), 3)]
}
