package config

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"lte/family"
)

func TestDefaultIsAllowed(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	if c, err := Load("", nil); err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("Load of nothing: %+v, %v", c, err)
	}
}

// TestRoundTrip writes random configurations and reads them back.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "config.toml")
	for i := range 50 {
		c := randomConfig(rng)
		if err := c.Check(); err != nil {
			t.Fatalf("the test's own configuration: %v", err)
		}
		var b bytes.Buffer
		if err := c.Write(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Load(path, nil)
		if err != nil {
			t.Fatalf("configuration %d: %v\n%s", i, err, b.String())
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("configuration %d:\n got %+v\nwant %+v", i, got, c)
		}
	}
}

// randomConfig draws every key from its allowed values.
func randomConfig(rng *rand.Rand) Config {
	var c Config
	for _, f := range fields {
		draw(rng, f, f.in(&c))
	}
	c.Model.Heads = 1 + rng.IntN(100)
	c.Model.Width = c.Model.Heads * (1 + rng.IntN(100))
	c.Train.Accumulate = 1 + rng.IntN(1000)
	c.Train.Batch = c.Train.Accumulate * (1 + rng.IntN(100))
	if c.Run.Watchdog < minWatchdog {
		c.Run.Watchdog = 0
	}
	c.Schedule.Warmup = rng.IntN(c.Train.Steps + 1)
	c.Schedule.MinLR = c.Optimizer.LR * rng.Float64()
	for i := range c.Merge.Schedule {
		c.Merge.Schedule[i].Until = 10*i + 1 + rng.IntN(10)
	}
	if m, ok := Preset(c.Model.Preset); ok {
		for _, key := range presetKeys(m.Kind) {
			key.in(&c).Set(key.in(&Config{Model: m}))
		}
	}
	if rng.IntN(2) == 0 { // lte allows most of what other methods do not
		c.Method = "lte"
		c.Replicas.Sync = "merge"
		if c.Exchange.Overlap {
			c.Merge.Reset, c.Replicas.Train = "none", nil
		}
		if c.Exchange.Overlap || c.LoRA.Bias {
			c.Exchange.Transport = "auto"
		}
		if c.LoRA.Basis == "shared" {
			c.Merge.Reset, c.Merge.Combine, c.Exchange.Transport = "none", "mean", "factors"
			c.LoRA.Bias = c.LoRA.Bias && c.LoRA.TrainA
		}
		return c
	}
	c.LoRA.Basis = "own"
	def := Default()
	c.LoRA.Heads, c.LoRA.Layers, c.Merge, c.Exchange, c.Replicas, c.EMA = 0, nil, def.Merge, def.Exchange, def.Replicas, def.EMA
	return c
}

// draw sets v, the value of f, to any value that f allows.
func draw(rng *rand.Rand, f field, v reflect.Value) {
	switch {
	case f.kind == reflect.Slice:
		for i := range rng.IntN(4) {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			draw(rng, f.at(i), v.Index(i))
		}
	case f.kind == reflect.Struct:
		for _, key := range f.keys {
			draw(rng, key, v.FieldByIndex(key.index))
		}
	case f.enum != nil:
		v.SetString(f.enum[rng.IntN(len(f.enum))])
	case f.pattern:
		v.SetString([]string{"*.mlp.*", `a"b`, `\*`, "[a-c]?", "é, {x}"}[rng.IntN(5)])
	case f.kind == reflect.String:
		v.SetString([]string{"", "runs/a b", `c:\"é`, "tab\there\nand\x01", "x # y"}[rng.IntN(5)])
	case f.kind == reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case f.kind == reflect.Uint64:
		v.SetUint(rng.Uint64() >> 1)
	case f.kind == reflect.Int:
		v.SetInt(1 + rng.Int64N(int64(min(1<<20, f.max))))
	default:
		v.SetFloat(math.Ldexp(1+rng.Float64(), rng.IntN(2000)-1000))
		if f.check(v) != nil {
			low := max(0, f.min)
			v.SetFloat(low + rng.Float64()*(min(low+1, f.max, f.below)-low))
		}
	}
}

func TestCheckByItself(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"seed must be at most 9223372036854775807, the largest integer of TOML, not 9223372036854775808": func(c *Config) { c.Seed = 1 << 63 },
		`run.dir must be UTF-8 text, not "a\xff"`:                                                        func(c *Config) { c.Run.Dir = "a\xff" },
		`model.width = 100 contradicts model.preset = "vit-b/16", which sets 768; leave one of the two out`: func(c *Config) {
			m, _ := Preset("vit-b/16")
			m.Width, m.Positions, m.TokenMLP = 100, "learned", 1
			c.Model = m
		},
		"optimizer.eps must be at least 1e-30 and at most 1, not -1.0": func(c *Config) { c.Optimizer.Eps = -1 },
		"optimizer.lr must be finite, not inf":                         func(c *Config) { c.Optimizer.LR = math.Inf(1) },
		"optimizer.clip_norm must be finite, not nan":                  func(c *Config) { c.Optimizer.ClipNorm = math.NaN() },
		"model.heads must be at least 1 and at most 65536, not 0":      func(c *Config) { c.Model.Heads = 0 },
		`replicas.train[0] must be UTF-8 text, not "\xff"`:             func(c *Config) { c.Replicas.Train = []string{"\xff"} },
		"lora.layers[1].alpha must be finite, not nan": func(c *Config) {
			c.LoRA.Layers = []LayerRule{{Match: "a"}, {Match: "b", Alpha: math.NaN()}}
		},
		"data.scale must be at least 0 and below 1, not 1.0": func(c *Config) { c.Data.Scale = 1 },
	} {
		c := Default()
		spoil(&c)
		if err := c.Check(); err == nil || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

func TestPresets(t *testing.T) {
	enum := byName["model.preset"].enum
	if presets := family.Presets(); len(enum) != 1+len(presets) {
		t.Errorf("%d names of model.preset, %d presets", len(enum)-1, len(presets))
	}
	if _, ok := Preset(""); ok {
		t.Error("the empty name is a preset")
	}
	want := map[string]string{ // kind/depth/width/mlp/token_mlp/heads
		"vit-t": "vit/12/192/768/0/3", "vit-s": "vit/12/384/1536/0/6", "vit-b": "vit/12/768/3072/0/12",
		"vit-l":   "vit/24/1024/4096/0/16",
		"mixer-s": "mixer/8/512/2048/256/0", "mixer-b": "mixer/12/768/3072/384/0", "mixer-l": "mixer/24/1024/4096/512/0",
	}
	if len(enum) != 1+2*len(want) {
		t.Errorf("%d presets, want %d scales of two patches each", len(enum)-1, len(want))
	}
	for _, name := range enum[1:] {
		m, ok := Preset(name)
		if !ok {
			t.Errorf("%s is no preset", name)
		}
		scale, patch, _ := strings.Cut(name, "/")
		if got := fmt.Sprintf("%s/%d/%d/%d/%d/%d", m.Kind, m.Depth, m.Width, m.MLP, m.TokenMLP, m.Heads); got != want[scale] {
			t.Errorf("%s: %s, want %s", name, got, want[scale])
		}
		if fmt.Sprint(m.Patch) != patch {
			t.Errorf("%s: patch %d", name, m.Patch)
		}
		c, err := Load("", []string{"model.preset=" + name, "model.positions=learned"})
		if err != nil {
			t.Fatal(err)
		}
		m.Positions = "learned"
		if def := Default().Model; m.Kind == "vit" { // what the kind does not read stays as it was
			m.TokenMLP = def.TokenMLP
		} else {
			m.Heads = def.Heads
		}
		if c.Model != m {
			t.Errorf("Load: %+v, Preset: %+v", c.Model, m)
		}
	}
}

// A preset may be combined with keys that agree with it, and overrides the file's keys if it is a setting.
func TestPresetAndOtherKeys(t *testing.T) {
	c, err := load(t, "[model]\npreset = \"vit-s/32\"\nwidth = 384\nnorm_affine = true\n")
	if err != nil || c.Model.Depth != 12 || !c.Model.NormAffine {
		t.Errorf("a key that agrees: %+v, %v", c.Model, err)
	}
	c, err = load(t, "[model]\nwidth = 96\nheads = 2\n", "model.preset=vit-t/16")
	if err != nil || c.Model.Width != 192 || c.Model.Heads != 3 {
		t.Errorf("a setting over the file's keys: %+v, %v", c.Model, err)
	}
	c, err = load(t, "[model]\nkind = \"vit\"\nheads = 2\n", "model.preset=mixer-b/16")
	if err != nil || c.Model.Kind != "mixer" || c.Model.TokenMLP != 384 || c.Model.Heads != 2 {
		t.Errorf("a mixer over the file's vit: %+v, %v", c.Model, err)
	}
	c, err = load(t, "[model]\nkind = \"mixer\"\nheads = 3\n")
	if err != nil {
		t.Errorf("a mixer has no attention heads: %v", err)
	}
	c, err = load(t, "[model]\npreset = \"vit-s/32\"\n", "model.preset=")
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("a preset taken back: %+v, %v", c.Model, err)
	}
}

func TestKeys(t *testing.T) {
	keys := Keys()
	if n := countLeaves(reflect.TypeFor[Config]()); len(keys) != n {
		t.Errorf("%d keys, %d fields", len(keys), n)
	}
	var names []string
	for _, k := range keys {
		if k.Doc == "" || k.Type == "" || k.Default == "" {
			t.Errorf("incomplete: %+v", k)
		}
		if slices.Contains(names, k.Name) {
			t.Errorf("%s occurs twice", k.Name)
		}
		names = append(names, k.Name)
	}
	for _, want := range []Key{
		{Name: "merge.every", Type: "integer", Default: "10", Unit: "steps", Doc: "local steps K between merges", Allowed: "at least 1 and at most 1e9", Resume: true},
		{Name: "merge.schedule", Type: "list of tables", Default: "[]", Doc: byName["merge.schedule"].Doc, Resume: true},
		{Name: "replicas.train", Type: "list of strings", Default: "[]", Doc: byName["replicas.train"].Doc, Allowed: aPattern},
	} {
		i := slices.Index(names, want.Name)
		if i < 0 {
			t.Errorf("%s is missing", want.Name)
		} else if keys[i] != want {
			t.Errorf("\n got %+v\nwant %+v", keys[i], want)
		}
	}
}

func countLeaves(t reflect.Type) int {
	if t.Kind() != reflect.Struct {
		return 1
	}
	n := 0
	for i := range t.NumField() {
		n += countLeaves(t.Field(i).Type)
	}
	return n
}

func TestHelpAndWriteAreReadable(t *testing.T) {
	var help, written bytes.Buffer
	if err := Help(&help); err != nil {
		t.Fatal(err)
	}
	if err := Default().Write(&written); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(help.String()+written.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 100 {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
	flat := strings.Join(strings.Fields(help.String()), " ")
	for _, k := range Keys() {
		if !strings.Contains(help.String(), "\n"+k.Name+" ") {
			t.Errorf("the help lacks %s", k.Name)
		}
		leaf := k.Name[strings.Index(k.Name, ".")+1:]
		if !strings.Contains(written.String(), "\n"+leaf+" = "+k.Default+"\n") {
			t.Errorf("the TOML lacks %s = %s", leaf, k.Default)
		}
		if word := strings.Fields(k.Doc)[0]; !strings.Contains(flat, word) {
			t.Errorf("the help lacks the doc of %s", k.Name)
		}
	}
}

// Fails if the help or the comments lack the keys of a list of tables, with meaning and bounds.
func TestSubKeys(t *testing.T) {
	var help, written bytes.Buffer
	if err := errors.Join(Help(&help), Default().Write(&written)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{help.String(), strings.ReplaceAll(written.String(), "\n# ", "\n")} {
		flat := strings.Join(strings.Fields(text), " ")
		for _, want := range []string{
			`match: pattern of layer names, such as "*.mlp.*" [` + aPattern + "]", "rank: rank r; 0: lora.rank [at least 0 and at most 65536]",
			"skip: the layer has no heads", "until: up to this step [in steps; at least 1 and at most 1e9]",
		} {
			if !strings.Contains(flat, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
	}
}

// Fails if a list is not written on one line.
func TestWriteLists(t *testing.T) {
	c := Default()
	c.LoRA.Layers = []LayerRule{{Match: "a\"b", Rank: 8, Alpha: 0.5}, {Match: "c", Skip: true}}
	c.Replicas.Train = []string{"x", `\*`}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`layers = [{match = "a\"b", rank = 8, alpha = 0.5, skip = false}, {match = "c", rank = 0, alpha = 0.0, skip = true}]`,
		"schedule = []",
		`train = ["x", "\\*"]`,
	} {
		if !strings.Contains(b.String(), "\n"+want+"\n") {
			t.Errorf("%s is missing in\n%s", want, b.String())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteTellsErrors(t *testing.T) {
	if Default().Write(fullDisk{}) == nil || Help(fullDisk{}) == nil {
		t.Error("a failed write went unnoticed")
	}
}
