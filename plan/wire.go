package plan

import (
	"fmt"

	"lte/config"
)

// Wire is a format in which the heads' numbers travel.
type Wire struct {
	Name      string
	PerNumber float64 // bytes
}

// Wires lists the formats. Those of few bits have a scale of two bytes for every block of 64 numbers.
func Wires() []Wire {
	return []Wire{{"fp32", 4}, {"bf16", 2}, {"int8", 1 + 2./64}, {"int4", 0.5 + 2./64}}
}

// ParseWire finds a format by its name; an unknown one is a *config.Error.
func ParseWire(name string) (Wire, error) {
	var names []string
	for _, w := range Wires() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Wire{}, &config.Error{Problem: fmt.Sprintf("no wire format is called %q: choose one of %v", name, names)}
}
