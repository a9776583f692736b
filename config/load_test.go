package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// load writes text to run.toml (no file where text is empty) in an own working directory, and loads it.
func load(t *testing.T, text string, settings ...string) (Config, error) {
	t.Helper()
	if text == "" {
		return Load("", settings)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("run.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load("run.toml", settings)
}

const presetEnum = `one of "", "vit-t/16", "vit-t/32", "vit-s/16", "vit-s/32", "vit-b/16", "vit-b/32", "vit-l/16", "vit-l/32"`

var badInputs = []struct {
	name     string
	file     string
	settings []string
	want     string
}{
	// unknown keys
	{"misspelt section and key", "[lora]\nrnak = 3\n", nil, `run.toml:2: unknown key "lora.rnak"; did you mean "lte.rank"?`},
	{"misspelt key", "\n[lte]\nrnak = 3\n", nil, `run.toml:3: unknown key "lte.rnak"; did you mean "lte.rank"?`},
	{"misspelt section", "[trian]\nsteps = 3\n", nil, `run.toml:2: unknown key "trian.steps"; did you mean "train.steps"?`},
	{"wrong section", "[train]\nwarmup = 3\n", nil, `run.toml:2: unknown key "train.warmup"; did you mean "schedule.warmup"?`},
	{"no section", "rank = 3\n", nil, `run.toml:1: unknown key "rank"; did you mean "lte.rank"?`},
	{"dotted", "method = \"lte\"\nlte.rnak = 3\n", nil, `run.toml:2: unknown key "lte.rnak"; did you mean "lte.rank"?`},
	{"two alike", "nama = \"x\"\n", nil, `run.toml:1: unknown key "nama"; did you mean "data.name" or "optimizer.name"?`},
	{"letter case", "[LTE]\nRank = 3\n", nil, `run.toml:2: unknown key "LTE.Rank"; did you mean "lte.rank"?`},
	{"nothing like it", "[lte]\nxyzzyplugh = 3\n", nil, `run.toml:2: unknown key "lte.xyzzyplugh"; the sections are run, data, model, lte, train, optimizer, schedule, compute`},
	{"first of two in the file", "[lte]\nzz = 1\naa = 2\n", nil, `run.toml:2: unknown key "lte.zz"; the sections are run, data, model, lte, train, optimizer, schedule, compute`},
	{"section as key", "lte = 3\n", nil, `run.toml:1: "lte" is a section; name one of its keys, such as "lte.rank"`},
	{"set: misspelt", "", []string{"lora.rnak=3"}, `--set lora.rnak=3: unknown key "lora.rnak"; did you mean "lte.rank"?`},
	{"set: no section", "", []string{"rank=3"}, `--set rank=3: unknown key "rank"; did you mean "lte.rank"?`},
	{"set: section", "", []string{"lte=3"}, `--set lte=3: "lte" is a section; name one of its keys, such as "lte.rank"`},
	{"table array", "[[lte]]\nrank = 3\n", nil, `run.toml:1: "lte" is a section; name one of its keys, such as "lte.rank"`},
	{"unknown empty section", "[schedul]\n", nil, `run.toml:1: unknown key "schedul"; did you mean "schedule"?`},

	// wrong types
	{"integer, got string", "[lte]\nrank = \"16\"\n", nil, `run.toml:2: lte.rank: expected an integer such as 8, got string "16"`},
	{"integer, got float", "[lte]\nrank = 16.0\n", nil, `run.toml:2: lte.rank: expected an integer such as 8, got float 16.0`},
	{"integer, got boolean", "[lte]\nrank = true\n", nil, `run.toml:2: lte.rank: expected an integer such as 8, got boolean true`},
	{"integer, got array", "[lte]\nrank = [16]\n", nil, `run.toml:2: lte.rank: expected an integer such as 8, got an array`},
	{"integer, got table", "[lte.rank]\nx = 1\n", nil, `run.toml:1: lte.rank: expected an integer such as 8, got a section`},
	{"integer, got date", "[lte]\nrank = 2026-01-02\n", nil, `run.toml:2: lte.rank: expected an integer such as 8, got a date or time`},
	{"float, got string", "[lte]\nalpha = \"big\"\n", nil, `run.toml:2: lte.alpha: expected a float such as 0.5, got string "big"`},
	{"boolean, got integer", "[data]\naugment = 1\n", nil, `run.toml:2: data.augment: expected true or false, got integer 1`},
	{"string, got integer", "method = 1\n", nil, `run.toml:1: method: expected a string such as "name", got integer 1`},
	{"unsigned, got negative", "seed = -1\n", nil, `run.toml:1: seed: expected an integer, 0 or more, got integer -1`},
	{"set: integer, got word", "", []string{"lte.rank=many"}, `--set lte.rank=many: lte.rank: expected an integer such as 8, got "many"`},
	{"set: integer, got nothing", "", []string{"lte.rank="}, `--set lte.rank=: lte.rank: expected an integer such as 8, got ""`},
	{"set: integer, got string", "", []string{`lte.rank="8"`}, `--set "lte.rank=\"8\"": lte.rank: expected an integer such as 8, got string "8"`},
	{"set: second key smuggled in", "", []string{"lte.rank=8\nw=1"}, `--set "lte.rank=8\nw=1": lte.rank: expected an integer such as 8, got "8\nw=1"`},
	{"set: open quote", "", []string{`method="full`}, `--set "method=\"full": method: expected a string such as "name", got "\"full"`},

	// settings that are none
	{"set: no equals sign", "", []string{"lte.rank"}, `--set lte.rank: expected section.key=value, such as lte.rank=8`},
	{"set: no key", "", []string{"=8"}, `--set =8: expected section.key=value, such as lte.rank=8`},
	{"set: empty", "", []string{""}, `--set : expected section.key=value, such as lte.rank=8`},

	// text that is no TOML
	{"syntax", "[lte]\nrank = \n", nil, `run.toml:2: not TOML: expected value but found '\n' instead`},
	{"open table", "method = \"lte\"\n[lte\n", nil, `run.toml:2: not TOML: expected '.' or ']' to end table name, but got '\n' instead`},
	{"open string", "method = \"lte\"\r\nrun.dir = \"a\r\nseed = 1\r\n", nil, `run.toml:2: not TOML: strings cannot contain newlines`},
	{"key twice", "seed = 1\nseed = 2\n", nil, `run.toml:2: not TOML: Key 'seed' has already been defined.`},
	{"integer too large", "seed = 99999999999999999999\n", nil, `run.toml:1: not TOML: 99999999999999999999 is out of range for int64`},

	// values out of range
	{"enum", "method = \"sgd\"\n", nil, `run.toml:1: method must be one of "lte", "full", not "sgd"`},
	{"min", "[lte]\nrank = 0\n", nil, `run.toml:2: lte.rank must be at least 1, not 0`},
	{"above", "[optimizer]\nlr = 0.0\n", nil, `run.toml:2: optimizer.lr must be above 0, not 0.0`},
	{"below", "[optimizer]\nbeta1 = 1\n", nil, `run.toml:2: optimizer.beta1 must be at least 0 and below 1, not 1.0`},
	{"infinite", "[optimizer]\nlr = inf\n", nil, `run.toml:2: optimizer.lr must be finite, not inf`},
	{"not a number", "[optimizer]\nweight_decay = nan\n", nil, `run.toml:2: optimizer.weight_decay must be finite, not nan`},
	{"set: enum", "", []string{"optimizer.name=lion"}, `--set optimizer.name=lion: optimizer.name must be one of "adamw", "sgd", not "lion"`},
	{"set: spaces", "", []string{"lte.rank = 0"}, `--set "lte.rank = 0": lte.rank must be at least 1, not 0`},
	{"set over a good file", "[lte]\nrank = 8\n", []string{"lte.rank=0"}, `--set lte.rank=0: lte.rank must be at least 1, not 0`},
	{"unknown preset", "", []string{"model.preset=vit-x/16"}, `--set model.preset=vit-x/16: model.preset must be ` + presetEnum + `, not "vit-x/16"`},

	// keys against each other
	{"heads", "[model]\nwidth = 64\nheads = 3\n", nil, `run.toml:2: model.width must be a multiple of model.heads (3), not 64`},
	{"warm-up", "[train]\nsteps = 10\n[schedule]\nwarmup = 11\n", nil, `run.toml:4: schedule.warmup must be at most train.steps (10), not 11`},
	{"warm-up of the file, steps set", "[schedule]\nwarmup = 11\n", []string{"train.steps=10"}, `--set train.steps=10: schedule.warmup must be at most train.steps (10), not 11`},
	{"min_lr", "[optimizer]\nlr = 0.1\n[schedule]\nmin_lr = 0.2\n", nil, `run.toml:4: schedule.min_lr must be at most optimizer.lr (0.1), not 0.2`},

	// presets
	{"preset and key in the file", "[model]\npreset = \"vit-s/32\"\nwidth = 64\n", nil, `run.toml:3: model.width = 64 contradicts model.preset = "vit-s/32" (run.toml:2), which sets 384; leave one of the two out`},
	{"preset and key set", "", []string{"model.preset=vit-s/32", "model.patch=16"}, `--set model.patch=16: model.patch = 16 contradicts model.preset = "vit-s/32" (--set model.preset=vit-s/32), which sets 32; leave one of the two out`},
	{"preset in the file, key set", "[model]\npreset = \"vit-s/32\"\n", []string{"model.heads=2"}, `--set model.heads=2: model.heads = 2 contradicts model.preset = "vit-s/32" (run.toml:2), which sets 6; leave one of the two out`},
}

func TestLoadErrors(t *testing.T) {
	for _, c := range badInputs {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, c.settings...)
			if err == nil {
				t.Fatal("no error")
			}
			if got := err.Error(); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Error("more than one line")
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T is no *Error", err)
			}
		})
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Chdir(t.TempDir())
	var e *Error
	_, err := Load("none.toml", nil)
	if want := "none.toml: no such file; check the path of the configuration file"; err == nil || err.Error() != want {
		t.Errorf("missing file: got %v, want %s", err, want)
	}
	if !errors.As(err, &e) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v does not wrap both *Error and fs.ErrNotExist", err)
	}
	dir := filepath.Base(t.TempDir())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = Load(dir, nil)
	if err == nil || !errors.As(err, &e) || !strings.Contains(err.Error(), "cannot read the configuration file") {
		t.Errorf("directory: %v", err)
	}
}

func TestLoadOrder(t *testing.T) {
	file := "method = \"full\"\n[lte]\nrank = 3\nalpha = 7\n[data]\n"
	c, err := load(t, file, "lte.rank=5", "lte.rank = 6")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Method = "full"
	want.LTE.Rank = 6  // of the last setting
	want.LTE.Alpha = 7 // of the file; an integer serves as a float
	if c != want {
		t.Errorf("\n got %+v\nwant %+v", c, want)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		setting string
		got     func(Config) any
		want    any
	}{
		{"method=full", func(c Config) any { return c.Method }, "full"},
		{`method="full"`, func(c Config) any { return c.Method }, "full"},
		{`method='full'`, func(c Config) any { return c.Method }, "full"},
		{"run.dir=2026", func(c Config) any { return c.Run.Dir }, "2026"},
		{"run.dir=a=b c", func(c Config) any { return c.Run.Dir }, "a=b c"},
		{"run.dir=", func(c Config) any { return c.Run.Dir }, ""},
		{"seed=1_000", func(c Config) any { return c.Seed }, uint64(1000)},
		{"optimizer.lr=1e-3", func(c Config) any { return c.Optimizer.LR }, 1e-3},
		{"optimizer.lr=1", func(c Config) any { return c.Optimizer.LR }, 1.0},
		{"data.augment=false", func(c Config) any { return c.Data.Augment }, false},
		{"data.augment=true", func(c Config) any { return c.Data.Augment }, true},
	} {
		loaded, err := Load("", []string{c.setting})
		if err != nil {
			t.Errorf("%s: %v", c.setting, err)
		} else if got := c.got(loaded); got != c.want {
			t.Errorf("%s: got %v, want %v", c.setting, got, c.want)
		}
	}
}
