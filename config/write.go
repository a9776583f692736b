package config

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

const pageWidth = 100 // columns of comments and help

// Write prints c as TOML that Load reads back to the same Config: every key, preceded by its documentation as a comment.
func (c Config) Write(w io.Writer) error {
	b := bufio.NewWriter(w) // Flush returns the first error
	section := ""
	for i, f := range fields {
		if f.section != section {
			section = f.section
			fmt.Fprintf(b, "\n[%s]\n", section)
		} else if i > 0 {
			fmt.Fprintln(b)
		}
		for _, line := range f.explanation(pageWidth - 2) {
			fmt.Fprintf(b, "# %s\n", line)
		}
		fmt.Fprintf(b, "%s = %s\n", f.leaf, literal(f.in(&c).Interface()))
	}
	return b.Flush()
}

// Help prints every key with its type, default, meaning, unit and range, by section.
func Help(w io.Writer) error {
	keys := Keys()
	var name, typ, def int // widths of the columns
	for _, k := range keys {
		name, typ, def = max(name, len(k.Name)), max(typ, len(k.Type)), max(def, len(k.Default))
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%-*s  %-*s  %-*s  %s\n", name, "KEY", typ, "TYPE", def, "DEFAULT", "MEANING")
	section := ""
	for i, k := range keys {
		if fields[i].section != section {
			section = fields[i].section
			fmt.Fprintln(b)
		}
		left := fmt.Sprintf("%-*s  %-*s  %-*s  ", name, k.Name, typ, k.Type, def, k.Default)
		for _, line := range fields[i].explanation(pageWidth - len(left)) {
			fmt.Fprintf(b, "%s%s\n", left, line)
			left = strings.Repeat(" ", len(left))
		}
	}
	return b.Flush()
}

// explanation returns the doc, then unit and allowed values in brackets, in lines of at most width columns. The keys of a list of
// tables follow, each on lines of its own.
func (f field) explanation(width int) []string {
	var notes []string
	if f.Unit != "" {
		notes = append(notes, "in "+f.Unit)
	}
	if f.Allowed != "" {
		notes = append(notes, f.Allowed)
	}
	text := f.Doc
	if notes != nil {
		text += " [" + strings.Join(notes, "; ") + "]"
	}
	lines := wrap(text, width)
	if f.kind != reflect.Slice {
		return lines
	}
	for _, key := range f.item.keys {
		for i, line := range key.explanation(width - len(key.leaf) - 4) {
			lead := "  " + key.leaf + ": "
			if i > 0 {
				lead = strings.Repeat(" ", len(lead))
			}
			lines = append(lines, lead+line)
		}
	}
	return lines
}

// literal formats a value as TOML, on one line. Floats are read back bit for bit.
func literal(v any) string {
	// Within another array the library writes a list of tables inline, not under headers.
	text, err := toml.Marshal(map[string]any{"v": []any{v}})
	if err != nil { // an unsigned integer above TOML's largest
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "v = ["), "]")
}

// wrap breaks text between words into lines of at most width columns; a longer word gets a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
