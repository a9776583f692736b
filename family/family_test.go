package family

import (
	"slices"
	"testing"
)

// Fails if a row contradicts itself, or misses what documentation and help print of it.
func TestTableIsConsistent(t *testing.T) {
	kinds, names := map[string]bool{}, map[string]bool{}
	for _, f := range All() {
		if f.Kind == "" || f.Name == "" || kinds[f.Kind] {
			t.Errorf("kind %q, name %q: expected a new kind, and a name in words", f.Kind, f.Name)
		}
		kinds[f.Kind] = true
		if found, ok := Named(f.Kind); !ok || found.Name != f.Name {
			t.Errorf("%s: not found by its kind", f.Kind)
		}
		if len(f.Scales) > 0 && len(f.Patches) == 0 || f.WidthOf != "" && !slices.Contains(f.Keys, f.WidthOf) {
			t.Errorf("%s: scales without a patch, or a width of no key of its own", f.Kind)
		}
		for _, s := range f.Scales {
			if len(s.Sizes) != len(f.Keys) {
				t.Errorf("%s-%s: %d sizes of %d keys", f.Kind, s.Name, len(s.Sizes), len(f.Keys))
			}
		}
	}
	for _, p := range Presets() {
		if names[p.Name] {
			t.Errorf("%s: two presets", p.Name)
		}
		names[p.Name] = true
		f, _ := Named(p.Kind)
		if of := p.Values[f.WidthOf]; of != 0 && p.Values["width"]%of != 0 {
			t.Errorf("%s: a width of %d is no multiple of %s = %d", p.Name, p.Values["width"], f.WidthOf, of)
		}
	}
	for _, name := range []string{"", "vit", "vit-s", "vit-s/8"} {
		if _, ok := PresetNamed(name); ok {
			t.Errorf("%q is a preset", name)
		}
		if _, ok := Named(name + "?"); ok {
			t.Errorf("%q is a kind", name+"?")
		}
	}
}
