package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// files writes TOML files into a new working directory.
func files(t *testing.T, texts map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range texts {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A file changes its base, wherever the key stands among the others, and settings change both; paths are relative to the
// file that holds them. Fails if a base overrides the file, or is looked for elsewhere.
func TestBase(t *testing.T) {
	files(t, map[string]string{
		"jobs/vit.toml":         "method = \"lora\"\nbase = \"common/base.toml\"\n[lora]\nrank = 3\n",
		"jobs/common/base.toml": "base = \"../root.toml\"\nmethod = \"full\"\n[lora]\nrank = 5\nalpha = 5\n[train]\nsteps = 5\n",
		"jobs/root.toml":        "[lora]\nalpha = 7\ninit = \"kaiming\"\n[train]\nbatch = 7\n",
	})
	c, err := Load("jobs/vit.toml", []string{"train.steps=90"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Method != "lora" || c.LoRA.Rank != 3 || c.LoRA.Alpha != 5 || c.LoRA.Init != "kaiming" || c.Train.Steps != 90 || c.Train.Batch != 7 {
		t.Errorf("%s %+v %+v", c.Method, c.LoRA, c.Train)
	}
}

func TestBaseErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		texts map[string]string
		want  string
	}{
		{"itself", map[string]string{"a.toml": "\nbase = \"a.toml\"\n"}, `a.toml:2: base "a.toml" refers back to itself; a file cannot be its own base`},
		{"a circle", map[string]string{"a.toml": "base = \"d/b.toml\"\n", "d/b.toml": "base = \"../a.toml\"\n"},
			`d/b.toml:1: base "a.toml" refers back to itself; a file cannot be its own base`},
		{"none", map[string]string{"a.toml": "base = \"b.toml\"\n"}, `a.toml:1: no such file; check the path of base "b.toml"`},
		{"a folder", map[string]string{"a.toml": "base = \"d\"\n", "d/x": ""}, `a.toml:1: cannot read base "d": not a regular file: it is a folder; expected a readable TOML file`},
		{"no path", map[string]string{"a.toml": "base = 3\n"}, `a.toml:1: base: expected the path of a TOML file, such as "base.toml", got integer 3`},
		{"unknown key", map[string]string{"a.toml": "base = \"b.toml\"\n", "b.toml": "[lora]\nrnk = 3\n"},
			`b.toml:2: unknown key "lora.rnk"; did you mean "lora.rank"?`},
		{"out of range, of the base", map[string]string{"a.toml": "base = \"b.toml\"\n[train]\nsteps = 3\n", "b.toml": "[lora]\nrank = 0\n"},
			`b.toml:2: lora.rank must be at least 1 and at most 65536, not 0`},
		{"out of range, of the file", map[string]string{"a.toml": "base = \"b.toml\"\n[lora]\nrank = 0\n", "b.toml": "[lora]\nrank = 3\n"},
			`a.toml:3: lora.rank must be at least 1 and at most 65536, not 0`},
		{"no TOML", map[string]string{"a.toml": "base = \"b.toml\"\n", "b.toml": "[lora\n"}, `b.toml:1: not TOML: `},
	} {
		files(t, c.texts)
		_, err := Load("a.toml", nil)
		if e := new(Error); !errors.As(err, &e) || len(err.Error()) < len(c.want) || err.Error()[:len(c.want)] != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}
