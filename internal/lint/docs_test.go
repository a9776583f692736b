package lint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"lte/method"
)

const (
	root        = "../.."
	readmeLines = 130
	pageWords   = 1600
)

// pages returns README.md and every page under docs/, as paths relative to the root, with their texts.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.ToSlash(name)] = string(text)
	}
	read(filepath.Join(root, "README.md"))
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil || len(all) < 2 {
		t.Fatalf("%d pages, %v", len(all), err)
	}
	return all
}

// words counts the words of a page: fields that contain a letter or digit, so that the rules of tables do not count.
func words(text string) (n int) {
	for _, field := range strings.Fields(text) {
		if strings.ContainsFunc(field, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			n++
		}
	}
	return n
}

func TestPagesAreShort(t *testing.T) {
	for name, text := range pages(t) {
		if n := strings.Count(text, "\n"); name == "README.md" && n > readmeLines {
			t.Errorf("%s has %d lines: at most %d are allowed; move details to docs/", name, n, readmeLines)
		}
		if n := words(text); n > pageWords {
			t.Errorf("%s has %d words: at most %d are allowed; shorten or split it", name, n, pageWords)
		}
	}
}

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	source    = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	heading   = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	notAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a page's headings as GitHub forms them.
func anchors(text string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(notAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// broken returns why a link of a page does not resolve; empty if it does, or leads to another site.
func broken(all map[string]string, page, target string) string {
	if strings.Contains(target, "://") {
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	name := page
	if file != "" {
		name = filepath.ToSlash(filepath.Join(filepath.Dir(page), file))
	}
	if _, err := os.Stat(filepath.Join(root, name)); err != nil {
		return fmt.Sprintf("there is no %s", name)
	}
	if anchor != "" && !slices.Contains(anchors(all[name]), anchor) {
		return fmt.Sprintf("%s has no heading of that name: its anchors are %s", name, strings.Join(anchors(all[name]), ", "))
	}
	return ""
}

func TestLinksResolve(t *testing.T) {
	all := pages(t)
	linked := map[string]bool{"README.md": true}
	for page, text := range all {
		for _, m := range append(link.FindAllStringSubmatch(text, -1), source.FindAllStringSubmatch(text, -1)...) {
			if why := broken(all, page, m[1]); why != "" {
				t.Errorf("%s links to %s: %s", page, m[1], why)
			}
			file, _, _ := strings.Cut(m[1], "#")
			linked[filepath.ToSlash(filepath.Join(filepath.Dir(page), file))] = true
		}
	}
	for page := range all {
		if !linked[page] {
			t.Errorf("no page links to %s", page)
		}
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	all := map[string]string{"README.md": "# A `b`: 1,000 c\n[d](#e)\n"}
	for target, want := range map[string]bool{"#a-b-1000-c": false, "#a": true, "https://example.org/none": false, "none.md": true, "README.md": false} {
		if why := broken(all, "README.md", target); (why != "") != want {
			t.Errorf("%s: %q", target, why)
		}
	}
}

// README.md and docs/algorithm.md describe the methods as package method does.
func TestTablesOfMethods(t *testing.T) {
	rows := "| --- | --- | --- |\n"
	for _, m := range method.All() {
		rows += fmt.Sprintf("| `%s` | %s | %s |\n", m.Name, m.Summary, m.Traffic)
	}
	all := pages(t)
	for _, page := range []string{"README.md", "docs/algorithm.md"} {
		if !strings.Contains(all[page], rows+"\n") {
			t.Errorf("%s: the table of methods must have these rows and no others:\n%s", page, rows)
		}
	}
}

// sources calls f with every source file, script and configuration of the tree.
func sources(t *testing.T, f func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && path != root {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".sh", ".toml", ".py", ".c", ".h"}, filepath.Ext(path)) && d.Name() != "Makefile" || !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			f(path, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPagesNamedInSourcesExist(t *testing.T) {
	all := pages(t)
	named := regexp.MustCompile(`\bdocs/[\w/-]+\.md`)
	seen := 0
	sources(t, func(path, text string) {
		for _, page := range named.FindAllString(text, -1) {
			seen++
			if _, ok := all[page]; !ok {
				t.Errorf("%s names %s, which does not exist", path, page)
			}
		}
	})
	if seen == 0 {
		t.Error("no page is named")
	}
}

func TestTestsNamedInPagesExist(t *testing.T) {
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	sources(t, func(path, text string) {
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range declaration.FindAllStringSubmatch(text, -1) {
				declared[m[1]] = true
			}
		}
	})
	for page, text := range pages(t) {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
			if !declared[name] {
				t.Errorf("%s names %s, which is not a test", page, name)
			}
		}
	}
}
