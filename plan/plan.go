// Package plan predicts what a run would cost on other machines: seconds, bytes and memory of an interval of K local steps and of what
// crosses the network for them, by counts alone. It trains nothing; the caller says or measures how fast a rank computes.
//
// The counts are those of packages model (memory, FLOPs), train (what trains on a rank) and merge (messages and their buffers), so a
// plan and a run cannot disagree; docs/plan.md has the equations, docs/measurements/plan.md compares predictions with measurements.
package plan

import (
	"fmt"
	"math"
	"slices"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/merge"
	"lte/method"
	"lte/train"
)

// Options says what is planned.
type Options struct {
	Config  config.Config // not resolved
	Set     *data.Set     // sizes of the images and number of classes: nothing else of it is read
	Cluster Cluster
	Speed   Speed
}

// Speed is how fast one rank computes while the others of its node do the same, waiting for the slowest of them included.
type Speed struct {
	Heads   float64 // FLOP/s of a step of LoRA heads, as model.Model.FLOPs counts them, over all of the step's time
	Weights float64 // likewise of a step of all weights
	// Fraction of these two that remains if all ranks wait for the slowest after every step, instead of every K; 0: all.
	Lockstep float64
	Memory   float64 // bytes per second that a pass over memory reads and writes
	Feed     float64 // seconds that preparing an image takes from the step's cores; 0: next to none, or in the above
}

// of is the FLOP/s of that method's steps.
func (s Speed) of(c config.Config) float64 {
	rate := s.Weights
	if c.Spec().HasHeads() {
		rate = s.Heads
	}
	if c.Spec().Averages && s.Lockstep > 0 {
		rate *= s.Lockstep
	}
	return rate
}

// Prediction is what one method would cost. Bytes and seconds are those of an interval of K local steps with what is exchanged for
// them: a merge, or K averaged gradients.
type Prediction struct {
	Kind    string `json:"kind"` // "plan"
	Method  string `json:"method"`
	Model   string `json:"model"`
	Ranks   int    `json:"ranks"`
	PerNode int    `json:"ranks_per_node"`
	Heads   int    `json:"heads"` // of all ranks; 0 where all weights train
	Steps   int    `json:"steps"` // K
	Wire    string `json:"wire"`
	// Layers that travel by each transport, where heads are merged.
	Transports map[string]int `json:"transports,omitempty"`

	Seconds         float64 `json:"seconds"`
	StepSeconds     float64 `json:"step_seconds"`      // of it, local steps, with preparing their images
	ExchangeSeconds float64 `json:"exchange_seconds"`  // of it, waiting for the network
	MergeSeconds    float64 `json:"merge_seconds"`     // of it, arithmetic on what is exchanged
	Communicating   float64 `json:"communicating"`     // ExchangeSeconds / Seconds
	ImagesPerSecond float64 `json:"images_per_second"` // of all ranks

	Bytes          float64 `json:"bytes"`           // that a rank sends, for all purposes but evaluation
	MergeBytes     float64 `json:"merge_bytes"`     // of it, factors or weights
	GradientBytes  float64 `json:"gradient_bytes"`  // of it, gradients
	ControlBytes   float64 `json:"control_bytes"`   // of it, lockstep checks; a mean where they are not in every interval
	BytesPerImage  float64 `json:"bytes_per_image"` // that all ranks send, over the images that they see
	AveragingBytes float64 `json:"averaging_bytes"` // that a ring allreduce of all gradients makes a rank send in K steps

	MemoryPerRank float64 `json:"memory_per_rank"` // bytes, with what the node's ranks share; without the images of the data set
	MemoryPerNode float64 `json:"memory_per_node"` // that only once
	Memory        Memory  `json:"memory"`          // MemoryPerRank, by what it is for
}

// Methods are the configured method and those with which every plan compares it: all but those whose ranks train the same heads.
func Methods(c config.Config) []string {
	all := []string{c.Method}
	for _, m := range method.All() {
		if m.Name != c.Method && !(m.HasHeads() && m.Averages) {
			all = append(all, m.Name)
		}
	}
	return all
}

// WithMethod is the configuration of another method: options of the configured method alone are left out.
func WithMethod(c config.Config, name string) config.Config {
	if c.Method == name {
		return c
	}
	c.Method = name
	c.LoRA.Heads = 0
	c.Merge.Reset, c.Merge.Moments, c.Merge.Combine, c.Merge.Momentum, c.Merge.Decay = "auto", "auto", "mean", 0, "factors"
	c.Replicas.Sync = "auto"
	if !c.Spec().ExchangesHeads() {
		c.Exchange = config.Default().Exchange
		c.LoRA.Basis, c.LoRA.TrainA = "auto", false
	}
	if !c.Spec().HasHeads() {
		c.LoRA.Layers, c.Replicas.Train = nil, nil
	}
	return c
}

// Predict predicts a method. What cannot be is a *config.Error.
func Predict(o Options, method string) (Prediction, error) {
	if err := o.check(); err != nil {
		return Prediction{}, err
	}
	r, err := o.rank(method)
	if err != nil {
		return Prediction{}, err
	}
	if err := r.choose(); err != nil {
		return Prediction{}, err
	}
	return r.predict(), nil
}

// FLOPs is those of the configured method for an image: the unit of Speed. Of the options it reads neither speeds nor
// links, and finds whatever else is wrong with them.
func FLOPs(o Options) (float64, error) {
	r, err := o.rank(o.Config.Method)
	if err != nil {
		return 0, err
	}
	return r.outline.Model.FLOPs(r.outline.Layout), nil
}

// rank outlines a rank of that method.
func (o Options) rank(method string) (*rank, error) {
	c := WithMethod(o.Config, method)
	if err := c.Resolve(o.Cluster.Ranks); err != nil {
		return nil, err
	}
	return newRank(o, c)
}

// newRank outlines a rank of a resolved configuration. Errors are train.NewOutline's.
func newRank(o Options, c config.Config) (r *rank, err error) {
	r = &rank{Options: o, config: c}
	if r.outline, err = train.NewOutline(c, o.Cluster.Ranks, o.Set); err != nil {
		return nil, err
	}
	_, r.trainable = r.outline.Model.Sizes()
	return r, nil
}

func (o Options) check() error {
	l := o.Cluster
	for _, rule := range []struct {
		wrong   bool
		problem string
	}{
		{l.Ranks < 1, fmt.Sprintf("a plan is of at least 1 rank, not %d", l.Ranks)},
		{l.Ranks > MaxRanks, fmt.Sprintf("a plan is of at most %d ranks, not %d", MaxRanks, l.Ranks)},
		{l.PerNode < 1, fmt.Sprintf("a node has at least 1 rank, not %d", l.PerNode)},
		{!above0(l.Between.Bandwidth, l.Within.Bandwidth), "a bandwidth must be above 0, and finite"},
		{!atLeast0(l.Between.Latency, l.Within.Latency), "a latency must be at least 0, and finite"},
		{!above0(o.Speed.Heads, o.Speed.Weights, o.Speed.Memory), "the speed of a rank must be above 0, and finite"},
		{!atLeast0(o.Speed.Lockstep), "what ranks reach in lockstep must be at least 0, and finite"},
		{!atLeast0(o.Speed.Feed), "preparing an image takes at least 0 seconds, and a finite time"},
	} {
		if rule.wrong {
			return &config.Error{Problem: rule.problem}
		}
	}
	return nil
}

func atLeast0(all ...float64) bool {
	return !slices.ContainsFunc(all, func(x float64) bool { return !(x >= 0) || math.IsInf(x, 1) })
}

func above0(all ...float64) bool { return atLeast0(all...) && !slices.Contains(all, 0) }

// rank is one rank of a planned run.
type rank struct {
	Options
	config     config.Config // resolved
	outline    *train.Outline
	trainable  int               // values of the parameters that can train
	transports []merge.Transport // of the outline's factors
}

// costs is what a merge is counted by.
func (r *rank) costs() merge.Costs {
	return merge.Costs{Ranks: r.Cluster.Ranks, Own: r.outline.Workers, Sharers: r.sharers(), Wire: r.wire()}
}

// sharers is the number of ranks of a node that share W and divide its merge.
func (r *rank) sharers() int {
	if !r.config.SharesWeights() {
		return 1
	}
	return r.Cluster.perNode()
}

// wire is the format of the heads' numbers.
func (r *rank) wire() merge.Wire { return merge.Wire(r.config.Exchange.Wire) }

func (r *rank) choose() (err error) {
	if r.config.Spec().ExchangesHeads() && !r.config.SharesBasis() {
		r.transports, err = train.TransportChoice(r.config).Transports(r.outline.Layout, func() (merge.Costs, error) {
			c := r.costs()
			c.Network, c.Rate = r.Cluster.Network(), r.Speed.Heads
			return c, nil
		})
	}
	return err
}

// images is how many a rank sees in a step, and how many different ones all ranks see.
func (r *rank) images() (mine, all float64) {
	mine = float64(r.outline.Workers) * float64(r.config.Train.Batch)
	if r.config.Data.Share == "same" {
		return mine, float64(r.config.Train.Batch)
	}
	return mine, mine * float64(r.Cluster.Ranks)
}

func (r *rank) predict() Prediction {
	c, l, k := r.config, r.Cluster, float64(r.config.Merge.Every)
	p := Prediction{Kind: "plan", Method: c.Method, Model: train.ModelName(c.Model), Ranks: l.Ranks, PerNode: min(l.PerNode, l.Ranks),
		Steps: c.Merge.Every, Wire: "fp32", Memory: r.memory(),
		AveragingBytes: k * float64(collective.AllreduceBytes(int64(r.trainable), l.Ranks))}
	if c.Spec().HasHeads() {
		p.Heads = c.LoRA.Heads
	}
	if c.Spec().ExchangesHeads() {
		p.Wire, p.Transports = string(r.wire()), map[string]int{}
		for _, t := range r.transports {
			p.Transports[t.String()]++
		}
	}
	mine, all := r.images()
	p.StepSeconds = k * mine * (r.outline.Model.FLOPs(r.outline.Layout)/r.Speed.of(c) + r.Speed.Feed)
	for _, m := range r.messages() {
		p.ExchangeSeconds += m.times * m.call(l, m.block)
		sent := m.times * m.block * float64(l.Ranks-1)
		switch m.purpose {
		case collective.Merging:
			p.MergeBytes += sent
		case collective.Gradients:
			p.GradientBytes += sent
		default:
			p.ControlBytes += sent
		}
	}
	w := r.work()
	p.MergeSeconds = w.flops/r.Speed.of(c) + w.bytes/r.Speed.Memory
	p.Seconds = p.StepSeconds + p.ExchangeSeconds + p.MergeSeconds
	p.Communicating = p.ExchangeSeconds / p.Seconds
	p.ImagesPerSecond = k * all / p.Seconds
	p.Bytes = p.MergeBytes + p.GradientBytes + math.Floor(p.ControlBytes)
	p.BytesPerImage = p.Bytes * float64(l.Ranks) / (k * all)
	p.MemoryPerRank = p.Memory.Total()
	p.MemoryPerNode = (p.MemoryPerRank-p.Memory.Common)*float64(p.PerNode) + p.Memory.Common
	return p
}
