package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"lte/bench"
	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/internal/memory"
	"lte/mpi"
	"lte/plan"

	"github.com/dustin/go-humanize"
)

// footprint is the memory that a rank is about to allocate.
type footprint struct {
	run      plan.Memory // its Program is allocated already
	extra    float64     // bytes that plan does not count
	extraFor string      // what they are for
}

// total is in bytes.
func (f footprint) total() float64 { return f.run.Total() - f.run.Program + f.extra }

// largest is the largest part of a rank's footprint, in words, and its bytes, where so many ranks share the memory of a node.
func (f footprint) largest(ranks int) (what string, bytes float64) {
	if what, bytes = f.run.Each(ranks).Largest(); f.extra > bytes {
		return f.extraFor, f.extra
	}
	return what, bytes
}

// task is a run or a benchmark whose footprint is checked before it starts.
type task struct {
	name    string // in messages, such as "the run"
	config  config.Config
	set     *data.Set // sizes of the images and number of classes
	ranks   int       // of one run: 1 where every rank makes a run alone
	perNode int       // of these, those that share the memory of a node
	count   func(config.Config, *data.Set) (footprint, error)
	names   map[string]string // of keys, also plan.ImageKey and plan.ClassesKey, in messages; others stand for themselves
	advice  string            // what else helps; may be empty
}

// runOf is the training run of a configuration on images of that set's sizes.
func runOf(c config.Config, ranks, perNode int, set *data.Set) task {
	names := map[string]string{plan.ImageKey: "data.size", plan.ClassesKey: "the number of classes"}
	synthetic := c.Data.Kind == "synthetic"
	if synthetic {
		names[plan.ClassesKey] = "synthetic.classes"
	}
	switch {
	case c.Data.Size > 0:
	case synthetic:
		names[plan.ImageKey] = "synthetic.height and synthetic.width"
	default:
		names[plan.ImageKey] = "the images' side (data.size)"
	}
	return task{name: "the run", config: c, set: set, ranks: ranks, perNode: perNode, names: names, count: func(c config.Config, set *data.Set) (f footprint, err error) {
		f.run, err = plan.Footprint(c, ranks, perNode, set)
		return f, err
	}}
}

// dataSet is the data set in messages.
const dataSet = "data set"

// checkSizes is an error, on all ranks, if a run does not fit into memory by the sizes that are known before its data set is opened.
// Other errors of the configuration are left to later checks.
func checkSizes(w *mpi.World, c config.Config) error {
	set := &data.Set{Channels: 1, Height: c.Data.Size, Width: c.Data.Size, Classes: 1} // at least
	if y := c.Synthetic; c.Data.Kind == "synthetic" {
		set = &data.Set{Channels: y.Channels, Height: cmp.Or(c.Data.Size, y.Height), Width: cmp.Or(c.Data.Size, y.Width), Classes: y.Classes}
	}
	if set.Height == 0 {
		return nil
	}
	t := runOf(c, w.Size(), w.NodeSize(), set)
	run := t.count
	t.count = func(c config.Config, set *data.Set) (footprint, error) {
		f, err := run(c, set)
		if err != nil {
			return footprint{}, nil
		}
		if y := c.Synthetic; c.Data.Kind == "synthetic" {
			f.extraFor, f.extra = dataSet, float64(y.Channels*y.Height*y.Width)+orderBytes*float64(y.Images)
		}
		return f, nil
	}
	return t.fits(w)
}

// checkRun is an error, on all ranks, if a run on an open data set does not fit into memory.
func checkRun(w *mpi.World, c config.Config, set *data.Set) error {
	t := runOf(c, w.Size(), w.NodeSize(), set)
	run := t.count
	t.count = func(c config.Config, set *data.Set) (footprint, error) {
		f, err := run(c, set)
		f.extraFor, f.extra = dataSet, orderBytes*float64(set.Train.Len())
		return f, err
	}
	return t.fits(w)
}

// What a benchmark allocates on a rank.
const (
	aRun     = 1 << iota // the memory of a run
	aFeed                // of it only the batches that are prepared ahead
	products             // operands of matrix products
)

// ofBench is a benchmark, of runs of so many ranks, that allocates what holds says.
func ofBench(o bench.Options, ranks, perNode, holds int) task {
	set := &data.Set{Channels: 3, Height: o.Image, Width: o.Image, Classes: o.Classes}
	names := map[string]string{plan.ImageKey: "--image", plan.ClassesKey: "--classes", "train.batch": "--batch", "lora.rank": "--rank", "model.preset": "--model"}
	return task{name: "the benchmark", config: o.Config, set: set, ranks: ranks, perNode: perNode, names: names,
		count: func(c config.Config, set *data.Set) (f footprint, err error) {
			if holds&aRun != 0 {
				f.run, err = plan.Footprint(c, ranks, perNode, set)
			}
			if holds&aFeed != 0 {
				f.run.Images = data.Ahead * 4 * float64(c.Train.Batch) * float64(set.Channels*set.Height*set.Width)
			}
			if holds&products != 0 && err == nil {
				o := o
				o.Config, o.Image, o.Classes = c, set.Height, set.Classes
				f.extraFor = "operands of products"
				f.extra, err = o.OperandBytes()
			}
			return f, err
		}}
}

// orderBytes is the memory of data.Sampler for each training image.
const orderBytes = 8

// fits is an error, on all ranks of the group, unless the task's footprint fits into the memory that each of them may use.
func (t task) fits(g collective.Group) error {
	var f footprint
	var err error
	if g.Rank() == 0 { // all ranks have the same configuration
		f, err = t.count(t.config, t.set)
	}
	if err := collective.Agree(g, err); err != nil {
		return err
	}
	need := memory.Need{Own: f.total() - f.run.Common, Common: f.run.Common, Node: t.perNode}
	if need.Own, need.Common, err = first(g, need.Own, need.Common); err != nil {
		return err
	}
	return enough(g, need, func(s shortage) error {
		f, err := t.count(t.config, t.set)
		if err != nil {
			return err
		}
		keys := plan.Blame(t.config, t.ranks, t.set, func(c config.Config, set *data.Set) (float64, error) {
			f, err := t.count(c, set)
			return f.total(), err
		})
		sharers := t.perNode
		if s.need == need.Own+need.Common {
			sharers = 1
		}
		what, bytes := f.largest(sharers)
		return &config.Error{Keys: keys, Problem: fmt.Sprintf("%s needs %s (%s %s)%s: %s", t.subject(keys), s.needs(), what, amount(bytes), s.has(), t.remedy(keys, what))}
	})
}

// first returns rank 0's numbers on all ranks.
func first(g collective.Group, x, y float64) (float64, float64, error) {
	all := make([]uint64, 2*g.Size())
	err := collective.Allgather(g, all, []uint64{math.Float64bits(x), math.Float64bits(y)})
	return math.Float64frombits(all[0]), math.Float64frombits(all[1]), err
}

// subject is the first of the keys, with its value.
func (t task) subject(keys []string) string {
	if len(keys) == 0 {
		return t.name
	}
	value := t.config.Value(keys[0])
	switch keys[0] {
	case plan.ImageKey:
		value = fmt.Sprint(max(t.set.Height, t.set.Width))
	case plan.ClassesKey:
		value = fmt.Sprint(t.set.Classes)
	}
	name := t.called(keys[0])
	if strings.HasPrefix(name, "--") {
		return name + " " + value
	}
	return name + " = " + value
}

func (t task) called(key string) string {
	if name, ok := t.names[key]; ok {
		return name
	}
	return key
}

// remedy says what would make it fit.
func (t task) remedy(keys []string, what string) string {
	var all []string
	verb := "lower "
	for _, key := range keys {
		if key == "model.preset" {
			all, verb = append(all, "choose a smaller "+t.called(key)), "lower "
			continue
		}
		all, verb = append(all, verb+t.called(key)), ""
		if key == "train.batch" && what == "activations" && t.called(key) == key {
			all, verb = append(all, "raise train.accumulate"), "lower "
		}
	}
	switch {
	case len(all) > 0:
	case what == dataSet:
		all = []string{"choose a smaller data set"}
	default:
		all = []string{"choose a smaller model or smaller batches"}
	}
	if t.advice != "" {
		all = append(all, t.advice)
	}
	if n := len(all) - 1; n > 0 {
		return strings.Join(all[:n], ", ") + " or " + all[n]
	}
	return all[0]
}

// shortage is a need of memory that exceeds what is available.
type shortage struct {
	ranks      int
	need, free float64 // bytes of each rank
	bound      string  // what limits free
}

// needs words what each rank needs, and has what is available to it.
func (s shortage) needs() string {
	if s.ranks == 1 {
		return amount(s.need)
	}
	return fmt.Sprintf("%s on each of %d ranks", amount(s.need), s.ranks)
}

func (s shortage) has() string {
	each := ""
	if s.ranks > 1 {
		each = " to each"
	}
	return fmt.Sprintf(", and %s is available%s (%s)", amount(s.free), each, s.bound)
}

// enough is an error, on all ranks of the group, unless each of them may allocate what it needs; explain makes that of the first rank
// that may not. A limit that holds for several ranks together is shared out among them.
func enough(g collective.Group, need memory.Need, explain func(shortage) error) error {
	const most = 16      // bounds of a rank
	debug.FreeOSMemory() // garbage of an earlier run does not count as used
	bounds := memory.Bounds(os.DirFS("/"))
	mine, all := make([]uint64, most), make([]uint64, most*g.Size())
	for i, b := range bounds[:min(most, len(bounds))] {
		mine[i] = b.Group
	}
	if err := collective.Allgather(g, all, mine); err != nil {
		return err
	}
	worst, needs, free := need.Worst(bounds, func(group uint64) (n int) {
		for rank := range g.Size() {
			if slices.Contains(all[rank*most:(rank+1)*most], group) {
				n++
			}
		}
		return n
	})
	lacks := uint64(0)
	if needs > free {
		lacks = 1
	}
	who, err := collective.Numbers(g, lacks)
	if err != nil {
		return err
	}
	if first := slices.Index(who, 1); first == g.Rank() {
		err = explain(shortage{g.Size(), needs, free, worst.What})
	} else if first < 0 {
		return nil
	}
	return collective.Agree(g, err)
}

// enoughFor is enough for a need that a flag sets.
func enoughFor(g collective.Group, flag string, need memory.Need) error {
	return enough(g, need, func(s shortage) error {
		return &config.Error{Problem: fmt.Sprintf("%s needs %s%s: lower it, or use fewer ranks", flag, s.needs(), s.has())}
	})
}

// amount words bytes.
func amount(bytes float64) string { return humanize.SIWithDigits(bytes, 1, "B") }
