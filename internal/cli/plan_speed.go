package cli

import (
	"cmp"
	"time"

	"lte/bench"
	"lte/collective"
	"lte/internal/session"
	"lte/method"
	"lte/mpi"
	"lte/plan"
)

// Defaults where nothing is measured.
const (
	nodeLatency   = 20e-6 // s
	nodeBandwidth = 12e9  // bytes/s
	memoryRate    = 20e9  // bytes/s
)

const rateTime = 2 * time.Second // for which steps are measured

const feedImages = 2000 // to prepare, a tenth of a second of the digits

// setSpeed fills in the speed that a flag sets, in FLOP/s.
func (p planCommand) setSpeed(o *plan.Options, rate float64) {
	o.Speed = plan.Speed{Heads: rate, Weights: rate, Memory: memoryRate}
	if o.Cluster.Oversubscribed {
		o.Speed.Memory *= float64(p.Cores) / float64(p.RanksPerNode)
	}
	setDefaults(&o.Cluster.Within)
}

// setDefaults fills in what was neither set nor measured.
func setDefaults(node *plan.Link) {
	node.Latency, node.Bandwidth = cmp.Or(node.Latency, nodeLatency), cmp.Or(node.Bandwidth, nodeBandwidth)
}

// measure fills in the speed of this machine's slowest rank, and of the node's network what no flag sets.
func (p planCommand) measure(o *plan.Options, w *mpi.World) error {
	c := o.Config
	c.LoRA.Heads = 0 // a head's speed, whatever their number
	threads, err := session.Threads(c.Compute.Threads, w)
	if c.Compute.Threads == 0 && w.Size() == 1 {
		threads = max(1, w.MachineCores()/p.RanksPerNode)
	}
	if err := collective.Agree(w, err); err != nil {
		return err
	}
	rate := func(name string, k int) (float64, error) {
		b := bench.Options{Config: plan.WithMethod(c, name), Image: o.Set.Height, Classes: o.Set.Classes, Threads: threads, Warmup: 2}
		if err := collective.Agree(w, b.Config.Resolve(1)); err != nil {
			return 0, err
		}
		t := benchTask(b, 1, 1, aRun)
		t.Name, t.Advice = "measuring the speed of "+name, "set the speed of a rank with --images-per-second"
		delete(t.Names, "train.batch")
		delete(t.Names, "lora.rank")
		if err := t.Check(w); err != nil {
			return 0, err
		}
		return bench.IntervalRate(b, w, k, rateTime)
	}
	heads := c.Method
	if !c.Spec().HasHeads() {
		heads = method.Default().Name
	}
	if o.Speed.Heads, err = rate(heads, c.Merge.Every); err != nil {
		return err
	}
	if o.Speed.Weights, err = rate(method.Baseline().Name, c.Merge.Every); err != nil {
		return err
	}
	if w.Size() > 1 {
		lockstep, err := rate(method.Baseline().Name, 1)
		if err != nil {
			return err
		}
		o.Speed.Lockstep = min(1, lockstep/o.Speed.Weights)
	}
	cores := cmp.Or(p.Cores, w.MachineCores())
	o.Cluster.Oversubscribed = p.RanksPerNode > cores
	if o.Speed.Memory, err = bench.MemoryRate(w); err != nil {
		return err
	}
	if o.Set.Train != nil { // a plan opens no set but the digits
		seconds, err := bench.FeedSeconds(c, o.Set, feedImages)
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		sum := []float64{seconds}
		if err := collective.Sum(w, sum); err != nil {
			return err
		}
		o.Speed.Feed = sum[0] / float64(w.Size()*threads)
	}
	// Ranks that outnumber the cores of a node share them, as did those that were measured; the time per image is processor time.
	share := func(ranks, cores int) float64 { return min(1, float64(cores)/float64(ranks*threads)) }
	part := share(p.RanksPerNode, cores)
	o.Speed.Feed /= part
	part /= share(w.MachineSize(), w.MachineCores())
	o.Speed.Heads, o.Speed.Weights, o.Speed.Memory = o.Speed.Heads*part, o.Speed.Weights*part, o.Speed.Memory*part
	if p.RanksPerNode*threads < cores { // the others prepare images
		o.Speed.Feed = 0
	}
	if w.Size() > 1 && w.NodeSize() == w.Size() {
		n, err := collective.Measure(w)
		if err != nil {
			return err
		}
		within := plan.Within(n, w.Size())
		o.Cluster.Within.Latency = cmp.Or(o.Cluster.Within.Latency, within.Latency)
		o.Cluster.Within.Bandwidth = cmp.Or(o.Cluster.Within.Bandwidth, within.Bandwidth)
	}
	setDefaults(&o.Cluster.Within)
	return nil
}
