package config

import (
	"fmt"
	"slices"

	"lte/family"
)

// Preset returns the model size of that name, such as "vit-s/32": Preset and the keys that it sets. The second result is false for an
// unknown name.
func Preset(name string) (Model, bool) {
	p, ok := family.PresetNamed(name)
	if !ok {
		return Model{}, false
	}
	c := Config{Model: Model{Preset: name, Kind: p.Kind}}
	for key, value := range p.Values {
		byName["model."+key].in(&c).SetInt(int64(value))
	}
	return c.Model, true
}

// presetKeys returns the keys that a preset of that kind sets.
func presetKeys(kind string) (keys []field) {
	f, _ := family.Named(kind)
	for _, key := range fields {
		if key.section == "model" && (key.leaf == "kind" || key.leaf == "patch" || slices.Contains(f.Keys, key.leaf)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// OfPreset reports whether a preset sets that key.
func OfPreset(key string) bool {
	return slices.ContainsFunc(family.Kinds(), func(kind string) bool {
		return slices.ContainsFunc(presetKeys(kind), func(f field) bool { return f.Name == key })
	})
}

// widthOf is the key of which model.width is a multiple, and its value: 1 where there is none.
func (m Model) widthOf() (key string, value int) {
	f, _ := family.Named(m.Kind)
	if f.WidthOf == "" {
		return "", 1
	}
	key = "model." + f.WidthOf
	return key, int(byName[key].in(&Config{Model: m}).Int())
}

// WidthDivisor is a number that model.width is a multiple of.
func (m Model) WidthDivisor() int {
	_, n := m.widthOf()
	return n
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
		set, explicit := l.origin[key.Name]
		overridden := from.setting && !set.setting
		if explicit && !overridden && !got.Equal(want) {
			return contradiction(key.Name, set.where, got.Interface(), preset.Preset, from.where, want.Interface())
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
