package config

import (
	"fmt"
	"strings"
)

// Change is a key that a run is to go on with another value of.
type Change struct {
	Key       string
	Was, Is   string // as in TOML
	MayChange bool
}

func (c Change) String() string { return fmt.Sprintf("%s = %s, not %s", c.Key, c.Is, c.Was) }

// Changes returns the keys in which a resolved configuration differs from that of the run that is to go on with it.
func (c Config) Changes(was Config) (all []Change) {
	for _, f := range fields {
		if f.differs(c, was) {
			all = append(all, Change{Key: f.name, Was: was.Value(f.name), Is: c.Value(f.name), MayChange: f.mayChange})
		}
	}
	return all
}

// Contradictions is an *Error that names every one of the changes that cannot be; nil if there is none.
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
	e.Problem = fmt.Sprintf("the run cannot go on with other values of these keys: %s; leave them as they were, or begin a new run", strings.Join(texts, "; "))
	return e
}
