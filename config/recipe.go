package config

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

// recipes holds the recommended configurations (docs/recipes.md), each a file of the keys in which it differs from the default.
//
//go:embed recipes/*.toml
var recipes embed.FS

// Recipes lists the names of the recipes.
func Recipes() (names []string) {
	files, _ := recipes.ReadDir("recipes") // embedded
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".toml"))
	}
	return names
}

// recipe applies the recipe of that name.
func (l *loader) recipe(name string) error {
	if !slices.Contains(Recipes(), name) {
		return &Error{Where: "--recipe " + name, Problem: fmt.Sprintf("no such recipe; expected one of %s", strings.Join(Recipes(), ", "))}
	}
	text, err := recipes.ReadFile(path.Join("recipes", name+".toml"))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return l.text("recipe "+name, string(text), nil)
}
