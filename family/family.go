// Package family describes every family of models once: its kind, its presets and the keys that they set. The configuration and
// the command line derive from its table. Package model has the networks, one file and one line of its table a family.
package family

import (
	"fmt"
	"slices"
	"strings"
)

// Family is a family of models. Keys are those of the configuration's section model.
type Family struct {
	Kind    string // model.kind
	Name    string // in words
	WidthOf string // the key that width is a multiple of; empty: none

	// Presets are named KIND-SCALE/PATCH, for every scale and every patch.
	Keys    []string // that a scale sets, one a column of Scales
	Scales  []Scale
	Patches []int // in pixels
}

// Scale is a size that has a name.
type Scale struct {
	Name  string
	Sizes []int // of the family's Keys
}

// Preset is the values of some keys under a name.
type Preset struct {
	Name   string
	Kind   string
	Values map[string]int // patch, and the family's Keys
}

// table lists the families, the default one first.
var table = []Family{
	{
		// Sizes of "An Image is Worth 16x16 Words" (table 1), for T and S those of DeiT (table 1).
		Kind: "vit", Name: "vision transformer", WidthOf: "heads",
		Keys:    []string{"depth", "width", "mlp", "heads"},
		Scales:  []Scale{{"t", []int{12, 192, 768, 3}}, {"s", []int{12, 384, 1536, 6}}, {"b", []int{12, 768, 3072, 12}}, {"l", []int{24, 1024, 4096, 16}}},
		Patches: []int{16, 32},
	},
	{
		// Sizes of "MLP-Mixer" (arXiv 2105.01601, table 1).
		Kind: "mixer", Name: "MLP-Mixer",
		Keys:    []string{"depth", "width", "mlp", "token_mlp"},
		Scales:  []Scale{{"s", []int{8, 512, 2048, 256}}, {"b", []int{12, 768, 3072, 384}}, {"l", []int{24, 1024, 4096, 512}}},
		Patches: []int{16, 32},
	},
}

// All returns the families in the order of the documentation.
func All() []Family { return slices.Clone(table) }

// Kinds returns the kinds of all families.
func Kinds() (kinds []string) {
	for _, f := range table {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

// Default is the family of models unless the configuration says otherwise: vision transformers.
func Default() Family { return table[0] }

// Named finds a family by its kind; ok is false for a kind that is none.
func Named(kind string) (f Family, ok bool) {
	if i := slices.IndexFunc(table, func(f Family) bool { return f.Kind == kind }); i >= 0 {
		return table[i], true
	}
	return Family{}, false
}

// Presets returns the presets of all families.
func Presets() (all []Preset) {
	for _, f := range table {
		for _, s := range f.Scales {
			for _, patch := range f.Patches {
				p := Preset{Name: fmt.Sprintf("%s-%s/%d", f.Kind, s.Name, patch), Kind: f.Kind, Values: map[string]int{"patch": patch}}
				for i, key := range f.Keys {
					p.Values[key] = s.Sizes[i]
				}
				all = append(all, p)
			}
		}
	}
	return all
}

// PresetNamed finds a preset by its name; ok is false for a name that is none.
func PresetNamed(name string) (p Preset, ok bool) {
	all := Presets()
	if i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name }); i >= 0 {
		return all[i], true
	}
	return Preset{}, false
}

// PresetKeys says in words which keys the presets of each family set.
func PresetKeys() string {
	var all []string
	for _, f := range table {
		last := len(f.Keys) - 1
		all = append(all, fmt.Sprintf("%s-* sets kind, patch, %s and %s", f.Kind, strings.Join(f.Keys[:last], ", "), f.Keys[last]))
	}
	return strings.Join(all, ", ")
}
