package config

import (
	"fmt"
	"strconv"
	"strings"
)

// scales are the sizes of "An Image is Worth 16x16 Words" (table 1) and, for T and S, of DeiT (table 1).
var scales = map[string]Model{
	"vit-t": {Depth: 12, Width: 192, MLP: 768, Heads: 3},
	"vit-s": {Depth: 12, Width: 384, MLP: 1536, Heads: 6},
	"vit-b": {Depth: 12, Width: 768, MLP: 3072, Heads: 12},
	"vit-l": {Depth: 24, Width: 1024, MLP: 4096, Heads: 16},
}

// Preset returns the scale called name, such as "vit-s/32": Preset, Patch, Depth, Width, MLP and Heads are set. The
// second result is false where there is none of that name.
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

// presetKeys are the keys that a preset stands for.
var presetKeys = []struct {
	name string
	of   func(*Model) *int
}{
	{"model.patch", func(m *Model) *int { return &m.Patch }},
	{"model.depth", func(m *Model) *int { return &m.Depth }},
	{"model.width", func(m *Model) *int { return &m.Width }},
	{"model.mlp", func(m *Model) *int { return &m.MLP }},
	{"model.heads", func(m *Model) *int { return &m.Heads }},
}

// preset fills the keys that model.preset stands for. A key that was set explicitly must agree, unless the preset is
// a setting and the key is the file's: settings win, so that a finished run's config.toml can be scaled by one --set.
func (l *loader) preset() error {
	preset, ok := Preset(l.config.Model.Preset)
	if !ok {
		return nil // none, or unknown, which Check tells
	}
	from := l.origin["model.preset"]
	for _, key := range presetKeys {
		got, want := key.of(&l.config.Model), *key.of(&preset)
		set, explicit := l.origin[key.name]
		overridden := from.setting && !set.setting
		if explicit && !overridden && *got != want {
			return contradiction(key.name, set.where, *got, preset.Preset, from.where, want)
		}
		*got = want
	}
	return nil
}

// contradiction names both keys; where and presetWhere, the places where they were set, may be empty.
func contradiction(key, where string, got int, preset, presetWhere string, want int) error {
	beside := ""
	if presetWhere != "" && presetWhere != where {
		beside = " (" + presetWhere + ")"
	}
	return &Error{Where: where, Keys: []string{key, "model.preset"},
		Problem: fmt.Sprintf("%s = %d contradicts model.preset = %q%s, which sets %d; leave one of the two out",
			key, got, preset, beside, want)}
}
