package experiment

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lte/collective"
	"lte/compare"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/record"
	"lte/report"
	"lte/train"
)

// small returns options of an experiment that takes seconds.
func small(t *testing.T) Options {
	return Options{Out: t.TempDir(), Heads: 4, Rank: 4, Images: 96, Batch: 16, Seeds: 1,
		Set: []string{"model.depth=1", "model.width=16", "model.mlp=32", "model.heads=2", "model.patch=4", "train.eval_batch=360",
			"measure.images=16", "merge.every=3"}}
}

func plan(t *testing.T, o Options, ranks int) []Run {
	t.Helper()
	runs, err := o.Plan(ranks)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// Fails if a variant sees another number of images or takes another number of steps, for any number of ranks.
func TestPlan(t *testing.T) {
	for _, ranks := range []int{1, 2, 4} {
		o := Options{Out: "out", Heads: 8, Rank: 16, Images: 12800, Batch: 128, Seeds: 2, More: true,
			Rates: map[string]float64{"full": 0.25}, Set: []string{"compute.threads=3", "merge.every=7"}}
		runs := plan(t, o, ranks)
		if len(runs) != 2*len(variants) {
			t.Fatalf("%d runs", len(runs))
		}
		dirs, rates := map[string]bool{}, map[string]float64{}
		for _, r := range runs {
			c := r.Config
			workers := ranks
			if c.Method == "lte" {
				workers = 8
			}
			steps := 100
			if r.Variant == "lte-more" {
				steps = 140
			}
			if c.Train.Batch*workers != 128 || c.Train.Steps != steps || c.Compute.Threads != 3 || c.Schedule.Warmup != steps/20 {
				t.Errorf("%d ranks, %s: %d × %d images, %d steps", ranks, r.Variant, workers, c.Train.Batch, c.Train.Steps)
			}
			if err := c.Check(); err != nil {
				t.Errorf("%s: %v", r.Variant, err)
			}
			dirs[c.Run.Dir], rates[r.Variant] = true, c.Optimizer.LR
			want := map[string][3]int{"lora": {1, 16, 7}, "lora-large": {1, 64, 7}, "mhlora": {8, 16, 7},
				"lte": {8, 16, 7}, "lte-k1": {8, 16, 1}}
			if w, ok := want[r.Variant]; ok && w != [3]int{c.LoRA.Heads, c.LoRA.Rank, c.Merge.Every} {
				t.Errorf("%s: %+v, %+v", r.Variant, c.LoRA, c.Merge)
			}
			if alpha := map[string]float64{"lte": 8 * 16, "lora": 32, "mhlora": 32}[c.Method]; alpha != 0 && c.LoRA.Alpha != alpha {
				t.Errorf("%s: alpha %g", r.Variant, c.LoRA.Alpha)
			}
			if (c.Optimizer.LR == 0.25) != (r.Variant == "full") {
				t.Errorf("%s: learning rate %g", r.Variant, c.Optimizer.LR)
			}
		}
		if rates["lora-large"] != 2*rates["lora"] { // four times the rank
			t.Errorf("learning rates: %v", rates)
		}
		if len(dirs) != len(runs) || !dirs[filepath.Join("out", "lte-k1-2")] {
			t.Errorf("run directories: %v", dirs)
		}
	}
}

// Fails if lte train with the settings of a run trains another run, which would not be found again.
func TestSettings(t *testing.T) {
	for _, r := range plan(t, Options{Out: "out", Data: "a b.tar", Heads: 8, Rank: 16, Images: 12800, Batch: 128, Seeds: 1, More: true}, 2) {
		c, err := config.Load("", r.Settings())
		if err == nil {
			err = c.Resolve(2)
		}
		if keys := differences(c, r.Config); err != nil || len(keys) > 0 {
			t.Errorf("%s: %v, %v", r.Variant, keys, err)
		}
	}
}

// Image sets have their own model, which a preset or a key of the user replaces.
func TestPlanForImages(t *testing.T) {
	o := Options{Data: "cifar", Out: "out", Heads: 2, Rank: 4, Images: 64, Batch: 16, Seeds: 1}
	if c := plan(t, o, 1)[0].Config; c.Model.Width != 192 || c.Data.Path != "cifar" || !c.Data.Flip || c.Data.Rotate != 0 {
		t.Errorf("%+v %+v", c.Model, c.Data)
	}
	o.Set = []string{"model.preset=vit-s/32", "data.crop=2"}
	if c := plan(t, o, 1)[0].Config; c.Model.Width != 384 || c.Data.Crop != 2 {
		t.Errorf("%+v %+v", c.Model, c.Data)
	}
}

func TestPlanErrors(t *testing.T) {
	for want, spoil := range map[string]func(*Options){
		"--heads must be at least 1 and at most 1048576, not 0":                    func(o *Options) { o.Heads = 0 },
		"--heads 3 cannot be shared out among 2 ranks: choose a multiple of 2":     func(o *Options) { o.Heads = 3 },
		"--batch 18 is no multiple of --heads 4":                                   func(o *Options) { o.Batch = 18 },
		"--images 15 is less than one step's, --batch 16":                          func(o *Options) { o.Images = 15 },
		"--only ltee: no such run; the runs are full, lora":                        func(o *Options) { o.Only = []string{"ltee"} },
		"--only lte-more: that run is made with --more":                            func(o *Options) { o.Only = []string{"lte-more"} },
		"--lr x: no such run":                                                      func(o *Options) { o.Rates = map[string]float64{"x": 1} },
		"--lr full: a learning rate is above 0, not -1":                            func(o *Options) { o.Rates = map[string]float64{"full": -1} },
		"--set method=lte: the comparison sets method itself; use --only":          func(o *Options) { o.Set = []string{"method=lte"} },
		"--set train.batch=3: the comparison sets train.batch itself; use --batch": func(o *Options) { o.Set = []string{"train.batch=3"} },
		`unknown key "lora.rnk"`:                                                   func(o *Options) { o.Set = []string{"lora.rnk=3"} },
		`merge.reset = "b" cannot be combined with method = "full"`:                func(o *Options) { o.Set = []string{"merge.reset=b"} },
	} {
		o := small(t)
		spoil(&o)
		_, err := o.Plan(2)
		if e := new(config.Error); !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a *config.Error with %q", err, want)
		}
	}
}

// trainer returns a function that trains a run as the program does and appends its name to trained.
func trainer(t *testing.T, trained *[]string) func(config.Config) error {
	set, err := data.Open(data.Source{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := compute.New("auto", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	return func(c config.Config) error {
		*trained = append(*trained, filepath.Base(c.Run.Dir))
		dir, err := c.Run.Dir, error(nil)
		if report.HoldsRun(dir) {
			_, err = report.ResumeRunDir(c, 0)
		} else {
			dir, err = report.CreateRunDir(c, set.Name, now)
		}
		if err != nil {
			return err
		}
		files, err := report.NewFiles(dir)
		if err != nil {
			return err
		}
		defer files.Close()
		tr, err := train.New(c, collective.Alone{}, set, backend)
		if err != nil {
			return err
		}
		s, err := tr.Run(stored{report.NewConsole(io.Discard, report.None, nil, c.Train.Steps), files})
		if err != nil {
			return err
		}
		return record.WriteSummary(dir, s)
	}
}

// stored is an observer that stores records and shows nothing.
type stored struct {
	*report.Console
	files *report.Files
}

func (s stored) Record(r record.Record) error { return s.files.Record(r) }

// The whole experiment on the digits, interrupted and repeated. Fails if a finished run is trained again, an interrupted one is not, or
// a variant is missing in the report.
func TestExperiment(t *testing.T) {
	o := small(t)
	o.Only = []string{"full", "lte"}
	var trained []string
	quiet := func(string, ...any) {}
	do := trainer(t, &trained)
	if _, err := Train(collective.Alone{}, plan(t, o, 1), do, quiet); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(trained, []string{"full-1", "lte-1"}) {
		t.Errorf("trained %v", trained)
	}
	// A run that stopped before its end.
	if err := os.Remove(filepath.Join(o.Out, "lte-1", "summary.json")); err != nil {
		t.Fatal(err)
	}
	trained, o.Only = nil, nil
	var said []string
	results, err := Train(collective.Alone{}, plan(t, o, 1), do, func(format string, args ...any) { said = append(said, format) })
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(variants)-1 || len(trained) != len(variants)-2 || slices.Contains(trained, "full-1") || !slices.Contains(trained, "lte-1") {
		t.Errorf("%d results, trained %v", len(results), trained)
	}
	if !strings.Contains(said[0], "already finished") {
		t.Errorf("said %q", said)
	}
	if _, err := Write(o.Out, results, 360); err != nil {
		t.Fatal(err)
	}
	text := read(t, o.Out, "observations.md")
	for _, r := range results {
		if !strings.Contains(text, "| `"+r.Variant+"` |") {
			t.Errorf("the table lacks %s", r.Variant)
		}
		rank, alignment := compare.Last(compare.GradientRank)(r.Run), compare.Last(compare.Alignment)(r.Run)
		if rank < 1 || (r.Config.LoRA.Heads > 1) != (alignment >= 0) {
			t.Errorf("%s: gradient rank %v, alignment %v", r.Variant, rank, alignment)
		}
	}
	for _, want := range []string{"4 heads of rank 4, merged every 3 steps", "one head of rank 16", "(accuracy-images.svg)", "**not measured**"} {
		if !strings.Contains(text, want) {
			t.Errorf("observations.md lacks %q:\n%s", want, text)
		}
	}
	if text := read(t, o.Out, compare.PageFile); !strings.Contains(text, "not measured") || !strings.Contains(text, "lora-large") {
		t.Error("the page lacks the verdicts, or a variant")
	}

	// Another configuration, or other ranks, in the same place.
	o.Set = append(o.Set, "optimizer.beta1=0.5")
	_, err = Train(collective.Alone{}, plan(t, o, 1), do, quiet)
	if e := new(config.Error); !errors.As(err, &e) || !strings.Contains(err.Error(), "optimizer.beta1 differs") {
		t.Errorf("got %v", err)
	}
	o.Set = o.Set[:len(o.Set)-1]
	other := plan(t, o, 1)[0]
	other.Ranks = 2
	if _, err := other.find(); err == nil || !strings.Contains(err.Error(), "run of 1 ranks, not 2") {
		t.Errorf("got %v", err)
	}
}

// Fails if a folder that holds other files is changed.
func TestFindRemovesOnlyRuns(t *testing.T) {
	r := plan(t, small(t), 1)[0]
	mine := filepath.Join(r.Config.Run.Dir, "notes.txt")
	if err := os.MkdirAll(r.Config.Run.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if found, err := r.find(); found != nil || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// Fails if a run that is not one of the experiment, or that has a summary, is removed.
func TestFindRemovesOnlyItsOwnRuns(t *testing.T) {
	for _, c := range []struct {
		seed             uint64
		name, text, want string // a file of the run directory
	}{
		{seed: 77, name: "notes.txt", want: "holds an interrupted run of another configuration (seed differs)"},
		{seed: 1, name: "summary.json", text: `{"steps": 1}`, want: "metrics.jsonl: no such file"},
		{seed: 1, name: "config.toml", text: "no configuration", want: "config.toml"},
	} {
		r := plan(t, small(t), 1)[0]
		was := r.Config
		was.Seed = c.seed
		dir, err := report.CreateRunDir(was, "digits", time.Now())
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, c.name), []byte(c.text), 0o644)); err != nil {
			t.Fatal(err)
		}
		if found, err := r.find(); err == nil || found != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v, want %q", found, err, c.want)
		}
		if !report.HoldsRun(dir) {
			t.Errorf("removed, with %s", c.name)
		}
	}
}

// Fails if an option is accepted from which another number overflows.
func TestNumbersAreBounded(t *testing.T) {
	for flag, set := range map[string]func(*Options, int){
		"--heads": func(o *Options, n int) { o.Heads = n }, "--rank": func(o *Options, n int) { o.Rank = n },
		"--images": func(o *Options, n int) { o.Images = n }, "--batch": func(o *Options, n int) { o.Batch = n },
		"--seeds": func(o *Options, n int) { o.Seeds = n },
	} {
		for _, n := range []int{0, -1, math.MinInt64, 1e16, math.MaxInt64} {
			o := small(t)
			set(&o, n)
			if _, err := o.Plan(1); !errors.As(err, new(*config.Error)) || !strings.HasPrefix(err.Error(), flag+" must be at ") {
				t.Errorf("%s %d: %v", flag, n, err)
			}
		}
	}
	if _, err := small(t).Plan(math.MaxInt64); !errors.As(err, new(*config.Error)) {
		t.Errorf("ranks: %v", err)
	}
}

func TestAFailedRunEndsIt(t *testing.T) {
	broken := errors.New("disk full")
	_, err := Train(collective.Alone{}, plan(t, small(t), 1), func(config.Config) error { return broken }, func(string, ...any) {})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "full-1") {
		t.Errorf("got %v", err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
