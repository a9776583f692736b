package train

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"

	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/method"
	"lte/model"
	"lte/nn"
	"lte/random"
)

// heads are the LoRA heads that a rank trains, one worker each, with their replicas.
type heads struct {
	config  config.Config
	backend compute.Backend
	model   *model.Model
	layout  *lora.Layout
	first   int       // number of the first head
	values  []float32 // (heads of this rank, layout.Length): the factors of all heads
	workers []*worker
	trained []model.Parameter // in addition to each head
	grads   []float32         // of trained
}

// newHeads makes count heads from first on; with mhlora, the head is a stack. Head k's random stream does not depend on N: the head is the
// same in every run of that seed.
func newHeads(c config.Config, be compute.Backend, m *model.Model, first, count int) (*heads, error) {
	h, err := allocateHeads(c, be, m, first, count)
	if err != nil {
		return nil, err
	}
	if c.FreezesA() {
		h.layout.DrawBasis(h.streams("basis", 0, 1)[0])
	}
	for i := range count {
		value := h.values[i*h.layout.Length : (i+1)*h.layout.Length]
		h.addWorker(h.layout.NewHead(value, h.headStreams(first+i)...))
		h.workers[i].replicas.store()
	}
	return h, nil
}

// allocateHeads lays the heads out and allocates their factors, without workers.
func allocateHeads(c config.Config, be compute.Backend, m *model.Model, first, count int) (h *heads, err error) {
	h = &heads{config: c, backend: be, model: m, first: first}
	if h.trained, h.grads, err = trainReplicas(c, m); err != nil {
		return nil, err
	}
	if h.layout, err = layOut(c, m, baseOf(c, count)); err != nil {
		return nil, err
	}
	h.values = m.Allocator().For(compute.TrainingMemory).Floats(count, h.layout.Length)
	return h, nil
}

// addWorker makes the worker of the next head.
func (h *heads) addWorker(head *lora.Head) {
	c, alloc := h.config, h.model.Allocator()
	w := &worker{number: h.first + len(h.workers), heads: []*lora.Head{head}, noise: newNoise(c.Model)}
	p := parameters{value: head.Value, grad: head.Grad}
	for _, l := range h.layout.Layers {
		columns := [2]int{l.Layer.W.Cols, l.Rank}
		if l.Layer == h.model.Classifier() {
			columns = [2]int{}
		}
		decay := c.Merge.Decay != "weights" // algorithm.md, decay = "factors": pulls W towards W⁰
		p.append(l.B-l.A, decay, columns[0])
		p.append(l.BiasA-l.B, decay, columns[1])
		p.append(l.End-l.BiasA, false, 0)
	}
	w.groups = []*paramGroup{newParamGroup(c, h.backend, alloc, p, 1)}
	if len(h.trained) > 0 {
		q := parameters{grad: h.grads}
		for _, t := range h.trained {
			q.append(t.Len(), t.Decay, hiddenColumns(h.model, t))
		}
		q.value = alloc.For(compute.TrainingMemory).Floats(q.length())
		w.replicas = &replicas{trained: h.trained, value: q.value}
		w.groups = append(w.groups, newParamGroup(c, h.backend, alloc, q, c.Replicas.LR/c.Optimizer.LR))
	}
	h.workers = append(h.workers, w)
}

// stackOf is how many heads are one, in every pass.
func stackOf(c config.Config) int {
	if c.Spec().Trains == method.HeadStack {
		return c.LoRA.Heads
	}
	return 1
}

// baseOf says what effective weights add s·BA to, on a rank with so many heads of its own.
func baseOf(c config.Config, own int) lora.Base {
	switch {
	case c.SharesBasis():
		return lora.OriginBase
	case c.Spec().Merges != method.Nothing && c.Merge.Reset != "none": // B'A' is always 0
		return lora.MainWeightBase
	case own > 1:
		return lora.RecomputedBase
	}
	return lora.CachedBase
}

// layOut lays out heads over the layers that are not replicas.
func layOut(c config.Config, m *model.Model, base lora.Base) (*lora.Layout, error) {
	weights := map[string]bool{} // of linear layers that are replicas
	for _, l := range m.Layers() {
		weights[l.Name], _ = l.Trains()
	}
	matched := make([]bool, len(c.LoRA.Layers))
	rule := func(layer string) (rank int, alpha float64, skip bool) {
		for i, r := range c.LoRA.Layers {
			if match(r.Match, layer) {
				matched[i] = true
				return r.Rank, r.Alpha, r.Skip || weights[layer]
			}
		}
		return 0, 0, weights[layer]
	}
	layout, err := m.Layout(lora.Config{Rank: c.LoRA.Rank, Alpha: c.LoRA.Alpha, Init: c.LoRA.Init, Bias: c.LoRA.Bias, FreezeA: c.FreezesA(),
		Stack: stackOf(c), Base: base, Images: perPass(c), Rule: rule})
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	for i, ok := range matched {
		if !ok {
			return nil, &config.Error{Keys: []string{"lora.layers"}, Problem: fmt.Sprintf(
				"lora.layers: %q is the first match of no layer; layers have names such as %q", c.LoRA.Layers[i].Match, m.Layers()[0].Name)}
		}
	}
	for _, l := range layout.Layers {
		if _, bias := l.Layer.Trains(); c.LoRA.Bias && bias {
			return nil, &config.Error{Keys: []string{"replicas.train", "lora.bias"}, Problem: fmt.Sprintf(
				"replicas.train and lora.bias would both train the bias of layer %q: leave it out of replicas.train, or set lora.bias = false", l.Layer.Name)}
		}
	}
	return layout, nil
}

// headStreams returns the random streams from which a head begins: those of each head of a stack, or those of a shared basis.
func (h *heads) headStreams(number int) []*rand.Rand {
	if h.config.SharesBasis() {
		return h.streams("basis", 0, 1)
	}
	return h.streams("head", number, stackOf(h.config))
}

// streams returns the random streams of a stack of heads from number on.
func (h *heads) streams(purpose string, number, stack int, ids ...uint64) (rngs []*rand.Rand) {
	for k := range stack {
		rngs = append(rngs, random.Stream(h.config.Seed, purpose, append([]uint64{uint64(number + k)}, ids...)...))
	}
	return rngs
}

// trainReplicas makes the parameters that replicas.train names train.
func trainReplicas(c config.Config, m *model.Model) ([]model.Parameter, []float32, error) {
	trained, grads := m.Train(func(name string) bool { return matchAny(c.Replicas.Train, name) })
	for _, pattern := range c.Replicas.Train {
		if !slices.ContainsFunc(trained, func(p model.Parameter) bool { return match(pattern, p.Name) }) {
			return nil, nil, &config.Error{Keys: []string{"replicas.train"}, Problem: fmt.Sprintf(
				"replicas.train: %q matches no parameter that can train; the names are those of the exported model, such as %q",
				pattern, m.Layers()[0].Name+".weight")}
		}
	}
	return trained, grads, nil
}

// match reports whether a name matches a pattern, which config.Check has found well formed.
func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// matchAny reports whether a name matches one of the patterns.
func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, name) })
}

// slot returns where the layer's factors lie in a head; ok is false where it carries none.
func (h *heads) slot(layer *nn.Linear) (s lora.LayerSlot, ok bool) {
	i := slices.IndexFunc(h.layout.Layers, func(s lora.LayerSlot) bool { return s.Layer == layer })
	if i < 0 {
		return s, false
	}
	return h.layout.Layers[i], true
}

// begin prepares the heads for the next interval, after so many merges: it resets them as configured, so that all are exactly at W. It returns how many
// moments it cleared.
func (h *heads) begin(merges int) (cleared int) {
	for i, w := range h.workers {
		head := w.heads[0]
		if h.config.Merge.Reset != "none" {
			h.initial(head.Value, h.first+i, merges)
			copy(head.Merged, head.Value)
		}
		head.Rebase()
		if h.config.Merge.Moments == "clear" {
			cleared += w.clearMoments()
		}
	}
	return cleared
}

// initial sets a head's flat factors to those that it begins with at the start, or is reset to after so many merges: any rank can draw
// any head's. With merge.reset = "b" a reset leaves A.
func (h *heads) initial(flat []float32, head, merges int) {
	switch {
	case merges == 0:
		h.layout.DrawA(flat, h.headStreams(head)...)
	case h.config.Merge.Reset == "ab":
		h.layout.DrawA(flat, h.streams("reset", head, 1, uint64(merges))...)
	}
	h.layout.ResetB(flat)
}
