package config

import (
	"fmt"
	"strings"
)

// Change is a key whose value differs when a run is resumed.
type Change struct {
	Key       string
	Was, Is   string // as in TOML
	MayChange bool
}

func (c Change) String() string { return fmt.Sprintf("%s = %s, not %s", c.Key, c.Is, c.Was) }

// Changes returns the keys in which a resolved configuration differs from that of the run that is resumed.
func (c Config) Changes(was Config) (all []Change) {
	for _, f := range fields {
		if f.differs(c, was) {
			all = append(all, Change{Key: f.Name, Was: was.Value(f.Name), Is: c.Value(f.Name), MayChange: f.Resume})
		}
	}
	return all
}

// Contradictions returns an *Error that names every change that is not allowed; nil if there is none.
func Contradictions(where string, all []Change) error {
	e := &Error{Where: where}
	var texts []string
	for _, c := range all {
		if !c.MayChange {
			e.Keys, texts = append(e.Keys, c.Key), append(texts, c.String())
		}
	}
	if texts == nil {
		return nil
	}
	e.Problem = fmt.Sprintf("cannot resume the run with other values of these keys: %s; leave them as they were, or start a new run", strings.Join(texts, "; "))
	return e
}
