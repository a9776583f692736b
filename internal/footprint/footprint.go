// Package footprint refuses a run or a benchmark that does not fit into memory, before it allocates: it compares the predicted memory of
// every rank (package plan) with what each rank may still allocate (package memory). Limits that several ranks share are divided among them.
package footprint

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/internal/memory"
	"lte/plan"

	"github.com/dustin/go-humanize"
)

// Footprint is the memory that a rank is about to allocate.
type Footprint struct {
	Run      plan.Memory // its Program is allocated already
	Extra    float64     // bytes that plan does not count
	ExtraFor string      // what they are for
}

// total is in bytes.
func (f Footprint) total() float64 { return f.Run.Total() - f.Run.Program + f.Extra }

// largest returns the name and the bytes of the largest part of a rank's footprint, where that many ranks share the memory of a node.
func (f Footprint) largest(ranks int) (what string, bytes float64) {
	if what, bytes = f.Run.Each(ranks).Largest(); f.Extra > bytes {
		return f.ExtraFor, f.Extra
	}
	return what, bytes
}

// Task is a run or a benchmark whose footprint is checked before it starts.
type Task struct {
	Name    string // in messages, such as "the run"
	Config  config.Config
	Set     *data.Set // sizes of the images and number of classes
	Ranks   int       // of one run: 1 where every rank makes a run alone
	PerNode int       // of these, those that share the memory of a node
	Count   func(config.Config, *data.Set) (Footprint, error)
	Names   map[string]string // of keys in messages, also plan.ImageKey and plan.ClassesKey; a key without one is named as it is
	Advice  string            // what else helps; may be empty
}

// run is the training run of a configuration on images of that set's sizes, whose data set takes so many bytes.
func run(c config.Config, ranks, perNode int, set *data.Set, bytes float64) Task {
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
	return Task{Name: "the run", Config: c, Set: set, Ranks: ranks, PerNode: perNode, Names: names, Count: func(c config.Config, set *data.Set) (f Footprint, err error) {
		f.Run, err = plan.Footprint(c, ranks, perNode, set)
		f.ExtraFor, f.Extra = dataSet, bytes
		return f, err
	}}
}

// dataSet is the data set in messages.
const dataSet = "data set"

// orderBytes is the memory of data.Sampler for each training image.
const orderBytes = 8

// CheckSizes is an error, on all ranks, if a run does not fit into memory by the sizes that are known before its data set is opened.
// Other errors of the configuration are left to later checks. perNode is the number of ranks that share memory with this one.
func CheckSizes(g collective.Group, perNode int, c config.Config) error {
	set, bytes := &data.Set{Shape: data.Shape{Channels: 1, Height: c.Data.Size, Width: c.Data.Size}, Classes: 1}, 0.0 // at least
	if y := c.Synthetic; c.Data.Kind == "synthetic" {
		set.Classes, set.Shape = y.Classes, data.Shape{Channels: y.Channels, Height: cmp.Or(c.Data.Size, y.Height), Width: cmp.Or(c.Data.Size, y.Width)}
		bytes = float64(y.Channels*y.Height*y.Width) + orderBytes*float64(y.Images)
	}
	if set.Height == 0 {
		return nil
	}
	t := run(c, g.Size(), perNode, set, bytes)
	count := t.Count
	t.Count = func(c config.Config, set *data.Set) (Footprint, error) {
		f, err := count(c, set)
		if err != nil {
			return Footprint{}, nil
		}
		return f, nil
	}
	return t.Check(g)
}

// CheckRun is an error, on all ranks, if a run on an open data set does not fit into memory.
func CheckRun(g collective.Group, perNode int, c config.Config, set *data.Set) error {
	return run(c, g.Size(), perNode, set, orderBytes*float64(set.Train.Len())).Check(g)
}

// Check is an error, on all ranks of the group, unless the task's footprint fits into the memory that each of them may use.
func (t Task) Check(g collective.Group) error {
	var f Footprint
	var err error
	if g.Rank() == 0 { // all ranks have the same configuration
		f, err = t.Count(t.Config, t.Set)
	}
	if err := collective.Agree(g, err); err != nil {
		return err
	}
	need := memory.Need{Own: f.total() - f.Run.Common, Common: f.Run.Common, Node: t.PerNode}
	if need.Own, need.Common, err = fromFirst(g, need.Own, need.Common); err != nil {
		return err
	}
	return check(g, need, func(s shortage) error {
		f, err := t.Count(t.Config, t.Set)
		if err != nil {
			return err
		}
		keys := plan.Blame(t.Config, t.Ranks, t.Set, func(c config.Config, set *data.Set) (float64, error) {
			f, err := t.Count(c, set)
			return f.total(), err
		})
		perNode := t.PerNode
		if s.need == need.Own+need.Common {
			perNode = 1
		}
		what, bytes := f.largest(perNode)
		return &config.Error{Keys: keys, Problem: fmt.Sprintf("%s needs %s (%s %s)%s: %s", t.subject(keys), s.needText(), what, amount(bytes), s.freeText(), t.remedy(keys, what))}
	})
}

// CheckFlag is an error, on all ranks of the group, unless each of them may allocate the memory that a flag asks for.
func CheckFlag(g collective.Group, flag string, need memory.Need) error {
	return check(g, need, func(s shortage) error {
		return &config.Error{Problem: fmt.Sprintf("%s needs %s%s: lower it, or use fewer ranks", flag, s.needText(), s.freeText())}
	})
}

// fromFirst returns rank 0's values on all ranks.
func fromFirst(g collective.Group, x, y float64) (float64, float64, error) {
	all := make([]uint64, 2*g.Size())
	err := collective.Allgather(g, all, []uint64{math.Float64bits(x), math.Float64bits(y)})
	return math.Float64frombits(all[0]), math.Float64frombits(all[1]), err
}

// subject is the first of the keys, with its value.
func (t Task) subject(keys []string) string {
	if len(keys) == 0 {
		return t.Name
	}
	value := t.Config.Value(keys[0])
	switch keys[0] {
	case plan.ImageKey:
		value = fmt.Sprint(max(t.Set.Height, t.Set.Width))
	case plan.ClassesKey:
		value = fmt.Sprint(t.Set.Classes)
	}
	name := t.keyName(keys[0])
	if strings.HasPrefix(name, "--") {
		return name + " " + value
	}
	return name + " = " + value
}

// keyName is the name of a key in messages.
func (t Task) keyName(key string) string {
	if name, ok := t.Names[key]; ok {
		return name
	}
	return key
}

// remedy says what would make the task fit.
func (t Task) remedy(keys []string, what string) string {
	var all []string
	verb := "lower "
	for _, key := range keys {
		if key == "model.preset" {
			all, verb = append(all, "choose a smaller "+t.keyName(key)), "lower "
			continue
		}
		all, verb = append(all, verb+t.keyName(key)), ""
		if key == "train.batch" && what == "activations" && t.keyName(key) == key {
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
	if t.Advice != "" {
		all = append(all, t.Advice)
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

// needText says what each rank needs.
func (s shortage) needText() string {
	if s.ranks == 1 {
		return amount(s.need)
	}
	return fmt.Sprintf("%s on each of %d ranks", amount(s.need), s.ranks)
}

// freeText says what is available to each rank.
func (s shortage) freeText() string {
	each := ""
	if s.ranks > 1 {
		each = " to each"
	}
	return fmt.Sprintf(", and %s is available%s (%s)", amount(s.free), each, s.bound)
}

// check is an error, on all ranks, unless each of them may allocate what it needs; explain makes that of the first rank that may not.
func check(g collective.Group, need memory.Need, explain func(shortage) error) error {
	const maxBounds = 16 // of a rank
	debug.FreeOSMemory() // garbage of an earlier run does not count as used
	bounds := memory.Bounds(os.DirFS("/"))
	own, all := make([]uint64, maxBounds), make([]uint64, maxBounds*g.Size())
	for i, b := range bounds[:min(maxBounds, len(bounds))] {
		own[i] = b.Group
	}
	if err := collective.Allgather(g, all, own); err != nil {
		return err
	}
	worst, needed, free := need.Worst(bounds, func(group uint64) (n int) {
		for rank := range g.Size() {
			if slices.Contains(all[rank*maxBounds:(rank+1)*maxBounds], group) {
				n++
			}
		}
		return n
	})
	short := uint64(0)
	if needed > free {
		short = 1
	}
	allShort, err := collective.Numbers(g, short)
	if err != nil {
		return err
	}
	if first := slices.Index(allShort, 1); first == g.Rank() {
		err = explain(shortage{g.Size(), needed, free, worst.What})
	} else if first < 0 {
		return nil
	}
	return collective.Agree(g, err)
}

// amount formats bytes.
func amount(bytes float64) string { return humanize.SIWithDigits(bytes, 1, "B") }
