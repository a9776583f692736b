package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// scales holds the model sizes of "An Image is Worth 16x16 Words" (table 1), for T and S those of DeiT (table 1), and for
// Mixers those of "MLP-Mixer" (arXiv 2105.01601, table 1).
var scales = map[string]Model{
	"vit-t":   {Kind: "vit", Depth: 12, Width: 192, MLP: 768, Heads: 3},
	"vit-s":   {Kind: "vit", Depth: 12, Width: 384, MLP: 1536, Heads: 6},
	"vit-b":   {Kind: "vit", Depth: 12, Width: 768, MLP: 3072, Heads: 12},
	"vit-l":   {Kind: "vit", Depth: 24, Width: 1024, MLP: 4096, Heads: 16},
	"mixer-s": {Kind: "mixer", Depth: 8, Width: 512, TokenMLP: 256, MLP: 2048},
	"mixer-b": {Kind: "mixer", Depth: 12, Width: 768, TokenMLP: 384, MLP: 3072},
	"mixer-l": {Kind: "mixer", Depth: 24, Width: 1024, TokenMLP: 512, MLP: 4096},
}

// Preset returns the model size of that name, such as "vit-s/32": Preset, Kind, Patch, Depth, Width and MLP are set, and
// Heads for a vit, TokenMLP for a mixer. The second result is false for an unknown name.
func Preset(name string) (Model, bool) {
	scale, patch, _ := strings.Cut(name, "/")
	m, ok := scales[scale]
	if !ok || patch != "16" && patch != "32" {
		return Model{}, false
	}
	m.Preset = name
	m.Patch, _ = strconv.Atoi(patch)
	return m, true
}

// presetKeys returns the keys that a preset of that kind sets.
func presetKeys(kind string) []field {
	last := "model.heads"
	if kind == "mixer" {
		last = "model.token_mlp"
	}
	var keys []field
	for _, name := range []string{"model.kind", "model.patch", "model.depth", "model.width", "model.mlp", last} {
		keys = append(keys, byName[name])
	}
	return keys
}

// OfPreset reports whether a preset sets that key.
func OfPreset(key string) bool {
	of := func(f field) bool { return f.name == key }
	return slices.ContainsFunc(presetKeys("vit"), of) || slices.ContainsFunc(presetKeys("mixer"), of)
}

// preset fills in the keys that model.preset sets. A key that was set explicitly must agree, unless the preset is a setting and the
// key is in the file: settings take precedence, so that a finished run's config.toml can be scaled with one --set.
func (l *loader) preset() error {
	preset, ok := Preset(l.config.Model.Preset)
	if !ok {
		return nil // none, or unknown, which Check reports
	}
	from := l.origin["model.preset"]
	for _, key := range presetKeys(preset.Kind) {
		got, want := key.in(&l.config), key.in(&Config{Model: preset})
		set, explicit := l.origin[key.name]
		overridden := from.setting && !set.setting
		if explicit && !overridden && !got.Equal(want) {
			return contradiction(key.name, set.where, got.Interface(), preset.Preset, from.where, want.Interface())
		}
		got.Set(want)
	}
	return nil
}

// contradiction returns an *Error that names both keys; where and presetWhere, the places where they were set, may be empty.
func contradiction(key, where string, got any, preset, presetWhere string, want any) error {
	presetAt := ""
	if presetWhere != "" && presetWhere != where {
		presetAt = " (" + presetWhere + ")"
	}
	return &Error{Where: where, Keys: []string{key, "model.preset"},
		Problem: fmt.Sprintf("%s = %s contradicts model.preset = %q%s, which sets %s; leave one of the two out",
			key, literal(got), preset, presetAt, literal(want))}
}
