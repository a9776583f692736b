// Package experiment repeats the comparison behind the five observations of "Training Neural Networks from Scratch with Parallel
// Low-Rank Adapters" (Huh et al., arXiv 2402.16828) on any data and scale: it plans runs of all methods that see the same number of
// images, has the missing ones trained by the caller, and judges the observations by criteria that can fail.
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

// Options are the user's choices.
type Options struct {
	Data   string             // image set, as data.path; empty: the embedded digits
	Out    string             // folder of the runs and of the report
	Heads  int                // N, of lte and mhlora, over all ranks
	Rank   int                // r
	Images int                // seen by each run
	Batch  int                // images per step, over all ranks and heads
	Seeds  int                // runs of each variant: seeds 1 to Seeds
	Rates  map[string]float64 // peak learning rates by variant
	Only   []string           // variants to train; empty: all
	More   bool               // also lte with 40 % more images
	Set    []string           // section.key=value, for all runs
}

const (
	largerRank  = 4   // factor of Options.Rank
	moreImages  = 1.4 // factor of Options.Images: the paper's figure for infrequent merges
	mergedAlpha = 16  // lora.alpha per head, where a merge takes the mean over heads
)

// variant is one of the compared settings of a method.
type variant struct {
	name, method, about string
	rate                float64 // peak learning rate, of heads at rank 16: see learningRate
	rank                int     // factor of Options.Rank; 0: 1
	everyStep           bool    // merge.every=1
	images              float64 // factor of Options.Images; 0: 1
}

// Names of the variants in the observations.
const (
	fullVariant       = "full"
	loraVariant       = "lora"
	loraLargeVariant  = "lora-large"
	mhloraVariant     = "mhlora"
	sequentialVariant = "sequential"
	everyStepVariant  = "lte-k1"
	lteVariant        = "lte"
	lteMoreVariant    = "lte-more"
)

// variants lists all variants in the order of training. docs/observations.md says how the rates were found.
var variants = []variant{
	{name: fullVariant, method: "full", about: "all weights, gradients averaged every step", rate: 2.5e-4},
	{name: loraVariant, method: "lora", about: "one head of rank {r}", rate: 5e-4},
	{name: loraLargeVariant, method: "lora", about: "one head of rank {r}", rate: 5e-4, rank: largerRank},
	{name: mhloraVariant, method: "mhlora", about: "{N} heads of rank {r} in every pass", rate: 1.25e-4},
	{name: sequentialVariant, method: "sequential", about: "one head of rank {r}, merged and reinitialized every {K} steps", rate: 5e-4},
	{name: everyStepVariant, method: "lte", about: "{N} heads of rank {r}, merged every step", rate: 2.5e-4, everyStep: true},
	{name: lteVariant, method: "lte", about: "{N} heads of rank {r}, merged every {K} steps", rate: 2.5e-4},
	{name: "localsgd", method: "localsgd", about: "all weights on every rank, averaged every {K} steps", rate: 2.5e-4},
	{name: "diloco", method: "diloco", about: "localsgd with an outer Nesterov step", rate: 2.5e-4},
	{name: lteMoreVariant, method: "lte", about: "as lte, with 40 % more images", rate: 2.5e-4, images: moreImages},
}

// learningRate returns the default peak rate. That of heads is ∝ √r: A has entries of about 1/√r, so that a step η of Adam on every
// element of B changes s·BAx by s·r·η/√r = α·η/√r, which should be the same for all r.
func (v variant) learningRate(rank int) float64 {
	if m, _ := method.Named(v.method); !m.HasHeads() {
		return v.rate
	}
	return v.rate * math.Sqrt(float64(rank)/16)
}

// Names lists the variants.
func Names() (names []string) {
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// Run is one run of the comparison.
type Run struct {
	Variant string
	Config  config.Config // resolved, with its run.dir
	Ranks   int
	Wanted  bool // to be trained if it is not finished
}

// imageSettings and imageModel are for photographs of about 32×32 pixels: the usual augmentation, the beta2 with which the learning
// rates were tuned, and a ViT that learns within minutes on two cores. The embedded digits use the built-in settings.
var imageSettings = []string{"data.rotate=0", "data.shift=0", "data.scale=0", "data.shear=0", "data.flip=true", "data.crop=4",
	"optimizer.beta2=0.999"}
var imageModel = []string{"model.patch=4", "model.depth=6", "model.width=192", "model.mlp=768", "model.heads=3"}

// planned maps the keys that the plan sets to the flags that control them.
var planned = map[string]string{"method": "--only", "data.path": "--data", "run.dir": "--out", "seed": "--seeds",
	"lora.heads": "--heads", "lora.rank": "--rank", "train.steps": "--images", "train.batch": "--batch",
	"optimizer.lr": "--lr NAME=RATE"}

// Plan returns the runs for that many ranks, ordered by seed. Every error is a *config.Error.
func (o Options) Plan(ranks int) ([]Run, error) {
	if err := o.check(ranks); err != nil {
		return nil, err
	}
	var runs []Run
	for seed := range o.Seeds {
		for _, v := range variants {
			if v.name == lteMoreVariant && !o.More {
				continue
			}
			c, err := o.config(v, seed+1, ranks)
			if err != nil {
				return nil, err
			}
			wanted := len(o.Only) == 0 || slices.Contains(o.Only, v.name)
			runs = append(runs, Run{Variant: v.name, Config: c, Ranks: ranks, Wanted: wanted})
		}
	}
	return runs, nil
}

// Common returns the configuration that all runs share: data, model and compute.
func (o Options) Common() (config.Config, error) {
	for _, s := range o.Set {
		name, _, _ := strings.Cut(s, "=")
		if flag, ok := planned[strings.TrimSpace(name)]; ok {
			return config.Config{}, wrong("--set %s: the comparison sets %s itself; use %s", s, strings.TrimSpace(name), flag)
		}
	}
	return config.LoadRecipe("paper", "", o.settings(1))
}

// settings returns the settings of all runs of that many steps, the user's last.
func (o Options) settings(steps int) []string {
	set := []string{"data.path=" + strconv.Quote(o.Data)}
	if o.Data != "" {
		set = append(set, imageSettings...)
		preset := func(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "model.preset") }
		if !slices.ContainsFunc(o.Set, preset) {
			set = append(set, imageModel...)
		}
	}
	set = append(set, "checkpoint.keep=0") // an interrupted run starts over
	every := func(key string, parts int) { set = append(set, fmt.Sprintf("%s=%d", key, max(1, steps/parts))) }
	every("schedule.warmup", 20)
	every("run.log_every", 40)
	every("run.eval_every", 5)
	every("measure.every", 10)
	set = append(set, fmt.Sprintf("train.steps=%d", steps))
	return append(set, o.Set...)
}

func (o Options) config(v variant, seed, ranks int) (config.Config, error) {
	images := max(v.images, 1) * float64(o.Images)
	steps := max(1, int(math.Round(images/float64(o.Batch))))
	batch := o.Batch / ranks
	m, _ := method.Named(v.method)
	if m.Trains == method.OwnHeads { // train.batch is per head
		batch = o.Batch / o.Heads
	}
	rank := o.Rank * max(v.rank, 1)
	rate, ok := o.Rates[v.name]
	if !ok {
		rate = v.learningRate(rank)
	}
	name := fmt.Sprintf("%s-%d", v.name, seed)
	set := append(o.settings(steps),
		"method="+v.method, fmt.Sprintf("seed=%d", seed), "run.dir="+strconv.Quote(filepath.Join(o.Out, name)),
		fmt.Sprintf("train.batch=%d", batch), fmt.Sprintf("lora.rank=%d", rank),
		fmt.Sprintf("optimizer.lr=%g", rate))
	if m.SeveralHeads() {
		set = append(set, fmt.Sprintf("lora.heads=%d", o.Heads))
	}
	if isAlpha := func(s string) bool { return strings.HasPrefix(s, "lora.alpha") }; m.ExchangesHeads() && !slices.ContainsFunc(o.Set, isAlpha) {
		set = append(set, fmt.Sprintf("lora.alpha=%g", mergedAlpha*float64(o.Heads)))
	}
	if v.everyStep {
		set = append(set, "merge.every=1")
	}
	c, err := config.LoadRecipe("paper", "", set)
	if err == nil {
		err = c.Resolve(ranks)
	}
	return c, err
}

// Largest values of options; package config bounds what follows from them.
const (
	maxRanks  = 1 << 20
	maxRank   = 65536 / largerRank
	maxImages = 1_000_000_000_000
	maxSeeds  = 100
)

// checkCount returns an error for a flag that is not in 1..most.
func checkCount(flag string, got, most int) error {
	if got < 1 || got > most {
		return wrong("--%s must be at least 1 and at most %d, not %d", flag, most, got)
	}
	return nil
}

// check returns an error for options that allow no plan.
func (o Options) check(ranks int) error {
	for _, n := range []struct {
		flag     string
		got, max int
	}{{"heads", o.Heads, maxRanks}, {"rank", o.Rank, maxRank}, {"images", o.Images, maxImages}, {"batch", o.Batch, maxImages},
		{"seeds", o.Seeds, maxSeeds}, {"ranks", ranks, maxRanks}} {
		if err := checkCount(n.flag, n.got, n.max); err != nil {
			return err
		}
	}
	for _, name := range o.Only {
		if !slices.Contains(Names(), name) {
			return wrong("--only %s: no such run; the runs are %s", name, strings.Join(Names(), ", "))
		}
		if name == lteMoreVariant && !o.More {
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
	case o.Batch%o.Heads != 0: // and so by the ranks
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
