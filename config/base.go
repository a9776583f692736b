package config

import (
	"fmt"
	"path/filepath"
	"slices"
)

// baseKey is the key of a file that names its base, the file that it changes.
const baseKey = "base"

// maxBases is the largest length of a chain of bases.
const maxBases = 16

// base is a file in a chain of bases, and where it names the next one.
type base struct{ path, where string }

// base applies the base that an entry of the file at path names.
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
		return &Error{Where: where, Keys: []string{baseKey}, Problem: fmt.Sprintf("%s %q: a chain of more than %d base files; use fewer", baseKey, name, maxBases)}
	}
	from = append(slices.Clone(from), base{path, where})
	for _, f := range from {
		if filepath.Clean(f.path) == filepath.Clean(name) {
			return &Error{Where: where, Keys: []string{baseKey}, Problem: fmt.Sprintf("%s %q refers back to itself; a file cannot be its own base", baseKey, name)}
		}
	}
	return l.file(name, from)
}
