// Package experiment repeats, on the data and at the scale that it is given, the comparison behind the five observations
// of "Training Neural Networks from Scratch with Parallel Low-Rank Adapters" (Huh et al., arXiv 2402.16828): it plans
// runs of all methods that see the same number of images, has those trained that are not finished, and judges the
// observations by stated criteria, each of which can fail. How a run is trained is left to the caller.
package experiment

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lte/config"
	"lte/method"
)

// Options are what a user asks for.
type Options struct {
	Data   string // image set, as data.path; empty: the embedded digits
	Out    string // folder of the runs and of what is written about them
	Heads  int    // N, of lte and mhlora, over all ranks
	Rank   int    // r
	Images int    // seen by a run
	Batch  int    // images of a step, of all ranks and heads together
	Seeds  int    // runs of each line: seeds 1 to Seeds
	Rates  map[string]float64
	Only   []string // lines to train; empty: all
	More   bool     // a line of lte with 40 % more images
	Set    []string // section.key=value, for all runs
}

// The factors of the lines that have more of something.
const (
	largerRank = 4
	moreImages = 1.4 // the paper's figure for infrequent merges
)

// line is one line of the comparison.
type line struct {
	name, method, about string
	rate                float64 // peak learning rate, of heads at rank 16: see line.learningRate
	rank                int     // over Options.Rank
	heads               bool    // Options.Heads of them
	alpha               float64 // of each of them, where a merge takes their mean; 0: as lora.alpha has it, 32
	everyStep           bool    // merges every step, whatever merge.every
	images              float64 // over Options.Images
}

// The names of the lines that the observations speak of.
const (
	fullLine       = "full"
	loraLine       = "lora"
	largeLine      = "lora-large"
	mhloraLine     = "mhlora"
	sequentialLine = "sequential"
	everyStepLine  = "lte-k1"
	lteLine        = "lte"
	moreLine       = "lte-more"
)

// lines of the comparison, in the order in which they are trained. docs/observations.md says how the rates were found.
var lines = []line{
	{name: fullLine, method: "full", about: "all weights, gradients averaged every step", rate: 2.5e-4},
	{name: loraLine, method: "lora", about: "one head of rank {r}", rate: 5e-4},
	{name: largeLine, method: "lora", about: "one head of rank {r}", rate: 5e-4, rank: largerRank},
	{name: mhloraLine, method: "mhlora", about: "{N} heads of rank {r} in every pass", rate: 1.25e-4, heads: true},
	{name: sequentialLine, method: "sequential", about: "one head of rank {r}, merged and begun anew every {K} steps", rate: 5e-4},
	{name: everyStepLine, method: "lte", about: "{N} heads of rank {r}, merged every step", rate: 2.5e-4, heads: true, alpha: 16, everyStep: true},
	{name: lteLine, method: "lte", about: "{N} heads of rank {r}, merged every {K} steps", rate: 2.5e-4, heads: true, alpha: 16},
	{name: "localsgd", method: "localsgd", about: "all weights on every rank, averaged every {K} steps", rate: 2.5e-4},
	{name: "diloco", method: "diloco", about: "localsgd with an outer Nesterov step", rate: 2.5e-4},
	{name: moreLine, method: "lte", about: "as lte, with 40 % more images", rate: 2.5e-4, heads: true, alpha: 16, images: moreImages},
}

// learningRate is the peak rate where the user says none. That of heads is ∝ √r: A's rows have entries of about 1/√r, so
// a step η of Adam on every entry of B moves s·BAx by s·r·η/√r = α·η/√r, which is to be the same for all r.
func (l line) learningRate(rank int) float64 {
	if m, _ := method.Named(l.method); !m.HasHeads() {
		return l.rate
	}
	return l.rate * math.Sqrt(float64(rank)/16)
}

// Names lists the lines.
func Names() (names []string) {
	for _, l := range lines {
		names = append(names, l.name)
	}
	return names
}

// Run is one run of the comparison.
type Run struct {
	Line   string
	Config config.Config // complete but for what Resolve fills in; run.dir is the run's own
	Ranks  int           // that train it
	Wanted bool          // to be trained if it is not finished
}

// imageSettings are for photographs of 32×32 pixels or so: a ViT that learns something within minutes on two cores, and
// the usual augmentation, with the second moment for which the learning rates were looked for. The embedded digits keep the built-in ones.
var imageSettings = []string{"data.rotate=0", "data.shift=0", "data.scale=0", "data.shear=0", "data.flip=true", "data.crop=4",
	"optimizer.beta2=0.999"}
var imageModel = []string{"model.patch=4", "model.depth=6", "model.width=192", "model.mlp=768", "model.heads=3"}

// planned are the keys that the comparison itself sets, and what sets them.
var planned = map[string]string{"method": "--only", "data.path": "--data", "run.dir": "--out", "seed": "--seeds",
	"lora.heads": "--heads", "lora.rank": "--rank", "train.steps": "--images", "train.batch": "--batch",
	"optimizer.lr": "--lr NAME=RATE"}

// Plan returns the runs, seed after seed, for that many ranks. Every error is a *config.Error.
func (o Options) Plan(ranks int) ([]Run, error) {
	if err := o.check(ranks); err != nil {
		return nil, err
	}
	var runs []Run
	for seed := range o.Seeds {
		for _, l := range lines {
			if l.name == moreLine && !o.More {
				continue
			}
			c, err := o.config(l, seed+1, ranks)
			if err != nil {
				return nil, err
			}
			wanted := len(o.Only) == 0 || slices.Contains(o.Only, l.name)
			runs = append(runs, Run{Line: l.name, Config: c, Ranks: ranks, Wanted: wanted})
		}
	}
	return runs, nil
}

// Common returns the configuration that all runs share: data, model and computing.
func (o Options) Common() (config.Config, error) {
	for _, s := range o.Set {
		name, _, _ := strings.Cut(s, "=")
		if flag, ok := planned[strings.TrimSpace(name)]; ok {
			return config.Config{}, wrong("--set %s: the comparison sets %s itself; use %s", s, strings.TrimSpace(name), flag)
		}
	}
	return config.Load("", o.settings(1))
}

// settings are those of all runs of that many steps, the user's last.
func (o Options) settings(steps int) []string {
	set := []string{"data.path=" + strconv.Quote(o.Data)}
	if o.Data != "" {
		set = append(set, imageSettings...)
		preset := func(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "model.preset") }
		if !slices.ContainsFunc(o.Set, preset) {
			set = append(set, imageModel...)
		}
	}
	set = append(set, "checkpoint.keep=0") // a run is begun anew
	part := func(key string, parts int) { set = append(set, fmt.Sprintf("%s=%d", key, max(1, steps/parts))) }
	part("schedule.warmup", 20)
	part("run.log_every", 40)
	part("run.eval_every", 5)
	part("measure.every", 10)
	set = append(set, fmt.Sprintf("train.steps=%d", steps))
	return append(set, o.Set...)
}

func (o Options) config(l line, seed, ranks int) (config.Config, error) {
	images := max(l.images, 1) * float64(o.Images)
	steps := max(1, int(math.Round(images/float64(o.Batch))))
	batch := o.Batch / ranks
	if m, _ := method.Named(l.method); m.Trains == method.OwnHeads { // a mini-batch is a head's
		batch = o.Batch / o.Heads
	}
	rank := o.Rank * max(l.rank, 1)
	rate, ok := o.Rates[l.name]
	if !ok {
		rate = l.learningRate(rank)
	}
	name := fmt.Sprintf("%s-%d", l.name, seed)
	set := append(o.settings(steps),
		"method="+l.method, fmt.Sprintf("seed=%d", seed), "run.dir="+strconv.Quote(filepath.Join(o.Out, name)),
		fmt.Sprintf("train.batch=%d", batch), fmt.Sprintf("lora.rank=%d", rank),
		fmt.Sprintf("optimizer.lr=%g", rate))
	if l.heads {
		set = append(set, fmt.Sprintf("lora.heads=%d", o.Heads))
	}
	if isAlpha := func(s string) bool { return strings.HasPrefix(s, "lora.alpha") }; l.alpha != 0 && !slices.ContainsFunc(o.Set, isAlpha) {
		set = append(set, fmt.Sprintf("lora.alpha=%g", l.alpha*float64(o.Heads)))
	}
	if l.everyStep {
		set = append(set, "merge.every=1")
	}
	c, err := config.Load("", set)
	if err == nil {
		err = c.Resolve(ranks)
	}
	return c, err
}

// Largest values of options. What comes of them, such as steps, has its own bounds in package config.
const (
	mostRanks  = 1 << 20
	mostRank   = 65536 / largerRank
	mostImages = 1_000_000_000_000
	mostSeeds  = 100
)

// check reports what no plan can be made of.
func (o Options) check(ranks int) error {
	for _, n := range []struct {
		flag      string
		got, most int
	}{{"heads", o.Heads, mostRanks}, {"rank", o.Rank, mostRank}, {"images", o.Images, mostImages}, {"batch", o.Batch, mostImages},
		{"seeds", o.Seeds, mostSeeds}, {"ranks", ranks, mostRanks}} {
		if n.got < 1 || n.got > n.most {
			return wrong("--%s must be at least 1 and at most %d, not %d", n.flag, n.most, n.got)
		}
	}
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return wrong("--only %s: no such run; the runs are %s", name, strings.Join(Names(), ", "))
		}
		if name == moreLine && !o.More {
			return wrong("--only %s: that run is made with --more", name)
		}
	}
	for name, rate := range o.Rates {
		if !slices.Contains(Names(), name) {
			return wrong("--lr %s: no such run; the runs are %s", name, strings.Join(Names(), ", "))
		}
		if !(rate > 0) || math.IsInf(rate, 1) {
			return wrong("--lr %s: a learning rate is above 0, not %g", name, rate)
		}
	}
	switch {
	case o.Heads%ranks != 0:
		return wrong("--heads %d cannot be shared out among %d ranks: choose a multiple of %d", o.Heads, ranks, ranks)
	case o.Batch%o.Heads != 0: // and so of the ranks
		return wrong("--batch %d is no multiple of --heads %d: every head takes the same number of images a step", o.Batch, o.Heads)
	case o.Images < o.Batch:
		return wrong("--images %d is less than one step's, --batch %d", o.Images, o.Batch)
	}
	_, err := o.Common()
	return err
}

func wrong(format string, args ...any) error {
	return &config.Error{Problem: fmt.Sprintf(format, args...)}
}
