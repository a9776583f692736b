// Package method describes every training method once: what it is, what a rank trains, when ranks synchronize, and what they merge.
// The configuration, the trainer, the planner, the comparisons and the documentation derive from its table.
package method

import "slices"

// Trained is what a rank trains.
type Trained int

const (
	AllWeights Trained = iota // a replica of the model
	OneHead                   // one LoRA head, the same on all ranks
	HeadStack                 // several heads in every pass, the same on all ranks
	OwnHeads                  // heads of its own, which no other rank has
)

// Merged is what moves the main weights W every merge.every steps.
type Merged int

const (
	Nothing Merged = iota
	Head           // the head that all ranks have: nothing travels
	Heads          // the factors of all ranks' heads
	Weights        // the mean of all ranks' weights
)

// Method is one training method. Symbols are those of docs/algorithm.md: a layer is (m, n), a head has rank r, there are N heads.
type Method struct {
	Name    string
	Summary string // what trains, in a clause
	Traffic string // what crosses the network

	Trains   Trained
	Averages bool // gradients are averaged over the ranks at every step
	Merges   Merged
	Outer    bool // a merge is a Nesterov step on the averaged difference of the weights
}

// table lists the methods: the default one first, then the baseline.
var table = []Method{
	{Name: "lte", Trains: OwnHeads, Merges: Heads,
		Summary: "N low-rank heads, each trained alone on its own mini-batches; the mean of their updates is merged into W every K steps",
		Traffic: "r(m+n) per head and layer, every K steps"},
	{Name: "full", Trains: AllWeights, Averages: true,
		Summary: "all weights, gradients averaged every step (DDP)",
		Traffic: "mn every step"},
	{Name: "lora", Trains: OneHead, Averages: true,
		Summary: "one head, gradients averaged every step",
		Traffic: "r(m+n) every step"},
	{Name: "mhlora", Trains: HeadStack, Averages: true,
		Summary: "N heads in every pass, gradients averaged every step",
		Traffic: "N·r(m+n) every step"},
	{Name: "sequential", Trains: OneHead, Averages: true, Merges: Head,
		Summary: "one head, gradients averaged every step, merged and reinitialized every K steps (ReLoRA)",
		Traffic: "r(m+n) every step"},
	{Name: "localsgd", Trains: AllWeights, Merges: Weights,
		Summary: "all weights, trained alone on every rank and averaged every K steps",
		Traffic: "mn every K steps"},
	{Name: "diloco", Trains: AllWeights, Merges: Weights, Outer: true,
		Summary: "`localsgd` with an outer Nesterov step on the averaged difference",
		Traffic: "mn every K steps"},
}

// All returns the methods in the order of the documentation.
func All() []Method { return slices.Clone(table) }

// Names returns the names of all methods.
func Names() []string { return NamesOf(table) }

// NamesOf returns the names of some methods.
func NamesOf(methods []Method) (names []string) {
	for _, m := range methods {
		names = append(names, m.Name)
	}
	return names
}

// Default is what trains unless the configuration says otherwise: LTE.
func Default() Method { return table[0] }

// Baseline is standard pre-training, with which all methods are compared.
func Baseline() Method { return table[1] }

// Named finds a method by its name; ok is false for a name that is none.
func Named(name string) (m Method, ok bool) {
	i := slices.IndexFunc(table, func(m Method) bool { return m.Name == name })
	if i < 0 {
		return Method{}, false
	}
	return table[i], true
}

// HasHeads reports whether LoRA heads train, not all weights.
func (m Method) HasHeads() bool { return m.Trains != AllWeights }

// SeveralHeads reports whether the heads of a run may be more than one.
func (m Method) SeveralHeads() bool { return m.Trains == HeadStack || m.Trains == OwnHeads }

// ExchangesHeads reports whether the factors of heads travel at merges.
func (m Method) ExchangesHeads() bool { return m.Merges == Heads }

// Resets reports whether a head can be reinitialized after a merge.
func (m Method) Resets() bool { return m.Merges == Heads || m.Merges == Head }
