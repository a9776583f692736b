package config

import (
	"fmt"
	"path/filepath"
	"slices"
)

// baseKey, in a file, names the file that it changes.
const baseKey = "base"

// maxBases is how many files may lead to one another by their bases.
const maxBases = 16

// base is a file that is the base of another, and where it is named.
type base struct{ path, where string }

// base applies the file that an entry of the file at path names.
func (l *loader) base(path string, e entry, from []base) error {
	where := fmt.Sprintf("%s:%d", path, e.line)
	name, ok := e.value.(string)
	if !ok || name == "" {
		return &Error{Where: where, Keys: []string{baseKey}, Problem: fmt.Sprintf("%s: expected the path of a TOML file, such as %q, got %s",
			baseKey, "base.toml", describe(e.value))}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	if len(from) == maxBases {
		return &Error{Where: where, Keys: []string{baseKey}, Problem: fmt.Sprintf("%s %q: more than %d files, each the base of another; name fewer", baseKey, name, maxBases)}
	}
	from = append(slices.Clone(from), base{path, where})
	for _, f := range from {
		if filepath.Clean(f.path) == filepath.Clean(name) {
			return &Error{Where: where, Keys: []string{baseKey}, Problem: fmt.Sprintf("%s %q leads back to itself; a file cannot be its own base", baseKey, name)}
		}
	}
	return l.file(name, from)
}
