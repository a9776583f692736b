package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// load writes text to run.toml (no file if text is empty) in a new working directory, and loads it.
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

const (
	presetEnum = `one of "", "vit-t/16", "vit-t/32", "vit-s/16", "vit-s/32", "vit-b/16", "vit-b/32", "vit-l/16", "vit-l/32", ` +
		`"mixer-s/16", "mixer-s/32", "mixer-b/16", "mixer-b/32", "mixer-l/16", "mixer-l/32"`
	aPattern = `a pattern (* any text, ? any character, [abc] one of these)`
	aTable   = `a table of match, rank, alpha, skip`
)

var badInputs = []struct {
	name     string
	file     string
	settings []string
	want     string
}{
	// unknown keys
	{"misspelt section and key", "[lara]\nrnak = 3\n", nil, `run.toml:2: unknown key "lara.rnak"; did you mean "lora.rank"?`},
	{"misspelt key", "\n[lora]\nrnak = 3\n", nil, `run.toml:3: unknown key "lora.rnak"; did you mean "lora.rank"?`},
	{"misspelt section", "[trian]\nsteps = 3\n", nil, `run.toml:2: unknown key "trian.steps"; did you mean "train.steps"?`},
	{"wrong section", "[train]\nwarmup = 3\n", nil, `run.toml:2: unknown key "train.warmup"; did you mean "schedule.warmup"?`},
	{"no section", "rank = 3\n", nil, `run.toml:1: unknown key "rank"; did you mean "lora.rank"?`},
	{"dotted", "method = \"lte\"\nlora.rnak = 3\n", nil, `run.toml:2: unknown key "lora.rnak"; did you mean "lora.rank"?`},
	{"three alike", "lr = 1\n", nil, `run.toml:1: unknown key "lr"; did you mean "replicas.lr" or "outer.lr" or "optimizer.lr"?`},
	{"letter case", "[LORA]\nRank = 3\n", nil, `run.toml:2: unknown key "LORA.Rank"; did you mean "lora.rank"?`},
	{"nothing like it", "[lora]\nxyzzyplugh = 3\n", nil, `run.toml:2: unknown key "lora.xyzzyplugh"; the sections are run, checkpoint, data, synthetic, model, lora, merge, exchange, replicas, outer, ema, train, optimizer, schedule, measure, compute`},
	{"first of two in the file", "[lora]\nzz = 1\naa = 2\n", nil, `run.toml:2: unknown key "lora.zz"; the sections are run, checkpoint, data, synthetic, model, lora, merge, exchange, replicas, outer, ema, train, optimizer, schedule, measure, compute`},
	{"section as key", "lora = 3\n", nil, `run.toml:1: "lora" is a section; name one of its keys, such as "lora.heads"`},
	{"set: misspelt", "", []string{"lara.rnak=3"}, `--set lara.rnak=3: unknown key "lara.rnak"; did you mean "lora.rank"?`},
	{"set: no section", "", []string{"rank=3"}, `--set rank=3: unknown key "rank"; did you mean "lora.rank"?`},
	{"set: section", "", []string{"lora=3"}, `--set lora=3: "lora" is a section; name one of its keys, such as "lora.heads"`},
	{"table array", "[[lora]]\nrank = 3\n", nil, `run.toml:1: "lora" is a section; name one of its keys, such as "lora.heads"`},
	{"old key, nearest", "[lte]\nrank = 3\n", nil, `run.toml:2: unknown key "lte.rank"; did you mean "lora.rank"?`},
	{"old key, nearest: alpha", "[lte]\nalpha = 3\n", nil, `run.toml:2: unknown key "lte.alpha"; did you mean "lora.alpha"?`},
	{"old key, nearest: init", "[lte]\ninit = 3\n", nil, `run.toml:2: unknown key "lte.init"; did you mean "lora.init"?`},
	{"old key, moved", "[lte]\nmerge_every = 3\n", nil, `run.toml:2: unknown key "lte.merge_every"; it was renamed to "merge.every"`},
	{"old key, moved: data", "", []string{"data.name=digits"}, `--set data.name=digits: unknown key "data.name"; it was renamed to "data.path"`},
	{"unknown empty section", "[schedul]\n", nil, `run.toml:1: unknown key "schedul"; did you mean "merge.schedule" or "schedule"?`},

	// wrong types
	{"integer, got string", "[lora]\nrank = \"16\"\n", nil, `run.toml:2: lora.rank: expected an integer such as 8, got string "16"`},
	{"integer, got float", "[lora]\nrank = 16.0\n", nil, `run.toml:2: lora.rank: expected an integer such as 8, got float 16.0`},
	{"integer, got boolean", "[lora]\nrank = true\n", nil, `run.toml:2: lora.rank: expected an integer such as 8, got boolean true`},
	{"integer, got array", "[lora]\nrank = [16]\n", nil, `run.toml:2: lora.rank: expected an integer such as 8, got a list`},
	{"integer, got table", "[lora.rank]\nx = 1\n", nil, `run.toml:1: lora.rank: expected an integer such as 8, got a table`},
	{"integer, got date", "[lora]\nrank = 2026-01-02\n", nil, `run.toml:2: lora.rank: expected an integer such as 8, got a date or time`},
	{"float, got string", "[lora]\nalpha = \"big\"\n", nil, `run.toml:2: lora.alpha: expected a float such as 0.5, got string "big"`},
	{"boolean, got integer", "[data]\naugment = 1\n", nil, `run.toml:2: data.augment: expected true or false, got integer 1`},
	{"string, got integer", "method = 1\n", nil, `run.toml:1: method: expected a string such as "name", got integer 1`},
	{"unsigned, got negative", "seed = -1\n", nil, `run.toml:1: seed: expected an integer, 0 or more, got integer -1`},
	{"set: integer, got word", "", []string{"lora.rank=many"}, `--set lora.rank=many: lora.rank: expected an integer such as 8, got "many"`},
	{"set: integer, got nothing", "", []string{"lora.rank="}, `--set lora.rank=: lora.rank: expected an integer such as 8, got ""`},
	{"set: integer, got string", "", []string{`lora.rank="8"`}, `--set "lora.rank=\"8\"": lora.rank: expected an integer such as 8, got string "8"`},
	{"set: second key smuggled in", "", []string{"lora.rank=8\nw=1"}, `--set "lora.rank=8\nw=1": lora.rank: expected an integer such as 8, got "8\nw=1"`},
	{"set: open quote", "", []string{`method="full`}, `--set "method=\"full": method: expected a string such as "name", got "\"full"`},

	// lists
	{"list of strings, got string", "[replicas]\ntrain = \"*\"\n", nil, `run.toml:2: replicas.train: expected a list, each item a string such as "name", got string "*"`},
	{"list of strings, got number", "[replicas]\ntrain = [\"*\", 1]\n", nil, `run.toml:2: replicas.train[1]: expected a string such as "name", got integer 1`},
	{"list of strings, got tables", "[[replicas.train]]\nx = 1\n", nil, `run.toml:1: replicas.train[0]: expected a string such as "name", got a table`},
	{"list of tables, got table", "[lora.layers]\nmatch = \"*\"\n", nil, `run.toml:1: lora.layers: expected a list, each item ` + aTable + `, got a table`},
	{"list of tables, got string", "[lora]\nlayers = [\"*\"]\n", nil, `run.toml:2: lora.layers[0]: expected ` + aTable + `, got string "*"`},
	{"sub-key of another type", "[lora]\nlayers = [\n{match = \"a\"},\n{match = \"b\", rank = 0.5}]\n", nil, `run.toml:2: lora.layers[1].rank: expected an integer such as 8, got float 0.5`},
	{"misspelt sub-key", "[lora]\nlayers = [{match = \"a\"}, {match = \"b\", rnak = 8}]\n", nil, `run.toml:2: lora.layers[1]: unknown key "rnak"; did you mean "rank"?`},
	{"sub-key in capitals", "[lora]\nlayers = [{Match = \"a\"}]\n", nil, `run.toml:2: lora.layers[0]: unknown key "Match"; did you mean "match"?`},
	{"sub-key like nothing", "[lora]\nlayers = [{match = \"a\", xyzzyplugh = 8}]\n", nil, `run.toml:2: lora.layers[0]: unknown key "xyzzyplugh"; the keys are match, rank, alpha, skip`},
	{"missing pattern", "[[lora.layers]]\nrank = 8\n", nil, `run.toml:1: lora.layers[0].match is missing; it must be ` + aPattern},
	{"missing number", "[merge]\nschedule = [{until = 8}]\n", nil, `run.toml:2: merge.schedule[0].every is missing; it must be at least 1 and at most 1e9`},
	{"one header", "seed = 1\n[[merge.schedule]]\nuntil = 8\nevery = 0\n", nil, `run.toml:2: merge.schedule[0].every must be at least 1 and at most 1e9, not 0`},
	{"one of several headers", "[[merge.schedule]]\nuntil = 8\nevery = 0\n[[merge.schedule]]\nuntil = 9\nevery = 1\n", nil, `run.toml: merge.schedule[0].every must be at least 1 and at most 1e9, not 0`},
	{"bad pattern", "[replicas]\ntrain = [\"*\", \"[a\"]\n", nil, `run.toml:2: replicas.train[1] must be ` + aPattern + `, not "[a"`},
	{"empty pattern", "[replicas]\ntrain = [\"\"]\n", nil, `run.toml:2: replicas.train[0] must be ` + aPattern + `, not ""`},
	{"bad pattern in a table", "[lora]\nlayers = [{match = \"a[\"}]\n", nil, `run.toml:2: lora.layers[0].match must be ` + aPattern + `, not "a["`},
	{"empty pattern in a table", "[lora]\nlayers = [{match = \"\"}]\n", nil, `run.toml:2: lora.layers[0].match must be ` + aPattern + `, not ""`},
	{"set: list without brackets", "", []string{"replicas.train=*.ln_*"}, `--set replicas.train=*.ln_*: replicas.train: expected a list, each item a string such as "name", got "*.ln_*"`},
	{"set: sub-key", "", []string{"lora.layers=[{match='a',rank=-1}]"}, `--set "lora.layers=[{match='a',rank=-1}]": lora.layers[0].rank must be at least 0 and at most 65536, not -1`},

	// settings that are none
	{"set: no equals sign", "", []string{"lora.rank"}, `--set lora.rank: expected section.key=value, such as lora.rank=8`},
	{"set: no key", "", []string{"=8"}, `--set =8: expected section.key=value, such as lora.rank=8`},
	{"set: empty", "", []string{""}, `--set : expected section.key=value, such as lora.rank=8`},

	// text that is no TOML
	{"syntax", "[lora]\nrank = \n", nil, `run.toml:2: not TOML: expected value but found '\n' instead`},
	{"open table", "method = \"lte\"\n[lte\n", nil, `run.toml:2: not TOML: expected '.' or ']' to end table name, but got '\n' instead`},
	{"open string", "method = \"lte\"\r\nrun.dir = \"a\r\nseed = 1\r\n", nil, `run.toml:2: not TOML: strings cannot contain newlines`},
	{"key twice", "seed = 1\nseed = 2\n", nil, `run.toml:2: not TOML: Key 'seed' has already been defined.`},
	{"integer too large", "seed = 99999999999999999999\n", nil, `run.toml:1: not TOML: 99999999999999999999 is out of range for int64`},

	// values out of range
	{"enum", "method = \"sgd\"\n", nil, `run.toml:1: method must be one of "lte", "full", "lora", "mhlora", "sequential", "localsgd", "diloco", not "sgd"`},
	{"min", "[lora]\nrank = 0\n", nil, `run.toml:2: lora.rank must be at least 1 and at most 65536, not 0`},
	{"above", "[optimizer]\nlr = 0.0\n", nil, `run.toml:2: optimizer.lr must be above 0 and at most 1e30, not 0.0`},
	{"below", "[optimizer]\nbeta1 = 1\n", nil, `run.toml:2: optimizer.beta1 must be at least 0 and below 1, not 1.0`},
	{"infinite", "[optimizer]\nlr = inf\n", nil, `run.toml:2: optimizer.lr must be finite, not inf`},
	{"not a number", "[optimizer]\nweight_decay = nan\n", nil, `run.toml:2: optimizer.weight_decay must be finite, not nan`},
	{"max", "[data]\nmix_probability = 1.1\n", nil, `run.toml:2: data.mix_probability must be at least 0 and at most 1, not 1.1`},
	{"set: enum", "", []string{"optimizer.name=lion"}, `--set optimizer.name=lion: optimizer.name must be one of "adamw", "sgd", "muon", not "lion"`},
	{"set: spaces", "", []string{"lora.rank = 0"}, `--set "lora.rank = 0": lora.rank must be at least 1 and at most 65536, not 0`},
	{"set over a good file", "[lora]\nrank = 8\n", []string{"lora.rank=0"}, `--set lora.rank=0: lora.rank must be at least 1 and at most 65536, not 0`},
	{"unknown preset", "", []string{"model.preset=vit-x/16"}, `--set model.preset=vit-x/16: model.preset must be ` + presetEnum + `, not "vit-x/16"`},

	// keys against each other
	{"heads", "[model]\nwidth = 64\nheads = 3\n", nil, `run.toml:2: model.width must be a multiple of model.heads (3), not 64`},
	{"warm-up", "[train]\nsteps = 10\n[schedule]\nwarmup = 11\n", nil, `run.toml:4: schedule.warmup must be at most train.steps (10), not 11`},
	{"warm-up of the file, steps set", "[schedule]\nwarmup = 11\n", []string{"train.steps=10"}, `--set train.steps=10: schedule.warmup must be at most train.steps (10), not 11`},
	{"overlap and reset", "[exchange]\noverlap = true\n[merge]\nreset = \"b\"\n", nil, `run.toml:2: exchange.overlap = true cannot be combined with merge.reset = "b": heads keep training while their factors are exchanged; set merge.reset = "none"`},
	{"overlap and transport", "[exchange]\noverlap = true\ntransport = \"rows\"\n", nil, `run.toml:2: exchange.overlap = true cannot be combined with exchange.transport = "rows": forming updates during the exchange would take cores from the steps; set exchange.transport = "factors" or "auto"`},
	{"transport and biases", "[exchange]\ntransport = \"dense\"\n", []string{"lora.bias=true"}, `--set lora.bias=true: exchange.transport = "dense" cannot be combined with lora.bias: biases are merged from the factors of all heads; set exchange.transport = "factors" or "auto"`},
	{"overlap and replicas", "[exchange]\noverlap = true\n", []string{`replicas.train=["*.bias"]`}, `--set "replicas.train=[\"*.bias\"]": exchange.overlap = true cannot be combined with replicas.train: their late means would undo what replicas learned since; leave one of the two out`},
	{"min_lr", "[optimizer]\nlr = 0.1\n[schedule]\nmin_lr = 0.2\n", nil, `run.toml:4: schedule.min_lr must be at most optimizer.lr (0.1), not 0.2`},

	{"accumulate", "[train]\nbatch = 16\naccumulate = 3\n", nil, `run.toml:2: train.batch must be a multiple of train.accumulate (3), not 16`},
	{"falling intervals", "[merge]\nschedule = [{until = 9, every = 1}, {until = 8, every = 2}]\n", nil, `run.toml:2: merge.schedule[1].until must be above merge.schedule[0].until (9), not 8`},
	{"equal intervals", "[merge]\nschedule = [{until = 9, every = 1}, {until = 9, every = 2}]\n", nil, `run.toml:2: merge.schedule[1].until must be above merge.schedule[0].until (9), not 9`},

	// presets
	{"preset and key in the file", "[model]\npreset = \"vit-s/32\"\nwidth = 64\n", nil, `run.toml:3: model.width = 64 contradicts model.preset = "vit-s/32" (run.toml:2), which sets 384; leave one of the two out`},
	{"preset and key set", "", []string{"model.preset=vit-s/32", "model.patch=16"}, `--set model.patch=16: model.patch = 16 contradicts model.preset = "vit-s/32" (--set model.preset=vit-s/32), which sets 32; leave one of the two out`},
	{"preset in the file, key set", "[model]\npreset = \"vit-s/32\"\n", []string{"model.heads=2"}, `--set model.heads=2: model.heads = 2 contradicts model.preset = "vit-s/32" (run.toml:2), which sets 6; leave one of the two out`},
	{"preset of another kind", "[model]\nkind = \"vit\"\npreset = \"mixer-s/32\"\n", nil, `run.toml:2: model.kind = "vit" contradicts model.preset = "mixer-s/32" (run.toml:3), which sets "mixer"; leave one of the two out`},
	{"preset and token_mlp", "", []string{"model.preset=mixer-s/32", "model.token_mlp=8"}, `--set model.token_mlp=8: model.token_mlp = 8 contradicts model.preset = "mixer-s/32" (--set model.preset=mixer-s/32), which sets 256; leave one of the two out`},
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
	file := "method = \"full\"\n[lora]\nrank = 3\nalpha = 7\n[data]\n"
	c, err := load(t, file, "lora.rank=5", "lora.rank = 6")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Method = "full"
	want.LoRA.Rank = 6  // of the last setting
	want.LoRA.Alpha = 7 // of the file; an integer serves as a float
	if !reflect.DeepEqual(c, want) {
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
		{`lora.layers=[{match="heads.*", skip=true}]`, func(c Config) any { return c.LoRA.Layers }, []LayerRule{{Match: "heads.*", Skip: true}}},
		{`replicas.train=["*.ln_*"]`, func(c Config) any { return c.Replicas.Train }, []string{"*.ln_*"}},
		{"replicas.train=[]", func(c Config) any { return c.Replicas.Train }, []string(nil)},
		{"data.augment=true", func(c Config) any { return c.Data.Augment }, true},
	} {
		loaded, err := Load("", []string{c.setting})
		if err != nil {
			t.Errorf("%s: %v", c.setting, err)
		} else if got := c.got(loaded); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.setting, got, c.want)
		}
	}
}

// TestLists reads the same lists in every form of TOML.
func TestLists(t *testing.T) {
	layers := []LayerRule{{Match: "*.mlp.*", Rank: 8, Alpha: 16}, {Match: "heads.*", Skip: true}}
	for _, file := range []string{
		"[lora]\nlayers = [{match = \"*.mlp.*\", rank = 8, alpha = 16}, {match = \"heads.*\", skip = true}]\n",
		"lora.layers = [\n  {match = '*.mlp.*', alpha = 16.0, rank = 8}, # a comment\n  {skip = true, match = 'heads.*'},\n]\n",
		"[[lora.layers]]\nmatch = \"*.mlp.*\"\nrank = 8\nalpha = 16\n\n[[lora.layers]]\nmatch = \"heads.*\"\nskip = true\n",
		"[lora]\nrank = 16\n[[lora.layers]]\nmatch = \"*.mlp.*\"\nrank = 8\nalpha = 16\n[[lora.layers]]\nmatch = \"heads.*\"\nskip = true\n",
	} {
		c, err := load(t, file)
		if err != nil || !reflect.DeepEqual(c.LoRA.Layers, layers) {
			t.Errorf("%s\ngot %+v, %v", file, c.LoRA.Layers, err)
		}
	}
	c, err := load(t, "[lora]\nlayers = [{match = \"a\"}]\n", `lora.layers=[{match="b"},{match="c"}]`, "lora.layers=[]")
	if err != nil || c.LoRA.Layers != nil {
		t.Errorf("a list taken back: %+v, %v", c.LoRA.Layers, err)
	}
}
