package config

import (
	"errors"
	"strings"
	"testing"
)

// Fails if a recipe is not a valid configuration, does not say on its own all keys by which another one differs from the default, or what a
// file or a setting says does not take precedence over it.
func TestRecipesAreComplete(t *testing.T) {
	set := map[string]bool{} // keys of any recipe
	for _, name := range Recipes() {
		l := loader{config: Default(), origin: map[string]origin{}}
		if err := l.recipe(name); err != nil {
			t.Fatal(err)
		}
		for key := range l.origin {
			set[key] = true
		}
	}
	for _, name := range Recipes() {
		l := loader{config: Default(), origin: map[string]origin{}}
		if err := l.recipe(name); err != nil {
			t.Fatal(err)
		}
		for key := range set {
			if _, ok := l.origin[key]; !ok {
				t.Errorf("recipe %s does not say %s", name, key)
			}
		}
		c, err := LoadRecipe(name, "", []string{"optimizer.lr=0.125"})
		if err != nil || c.Optimizer.LR != 0.125 {
			t.Errorf("recipe %s: %v, rate %v", name, err, c.Optimizer.LR)
		}
		for _, ranks := range []int{1, 4} {
			resolved := c
			if err := resolved.Resolve(ranks); err != nil {
				t.Errorf("recipe %s: %v", name, err)
			}
		}
	}
	if _, err := LoadRecipe("fats", "", nil); !errors.As(err, new(*Error)) || !strings.Contains(err.Error(), "expected one of fast, frugal, paper") {
		t.Errorf("%v", err)
	}
}
