package train

import (
	"errors"
	"fmt"

	"lte/collective"
	"lte/config"
	"lte/model"
)

// guard proves, after every merge, that all ranks hold the same bits (algorithm.md, law 5), and where merge.lockstep is "repair"
// makes them the same again: rank 0's. Ranks may come to differ where their CPUs round differently, or a memory fails.
type guard struct {
	group   collective.Group
	repair  bool
	done    *counts // of the method
	held    []held
	names   []string
	digests []uint64
}

// held is a parameter, and what else all ranks hold alike of which it is formed, or which is formed of it: were that not made
// equal too, the difference would come back.
type held struct {
	value []float32
	with  [][]float32
}

// newGuard makes the guard of all parameters of a model, which counts in done.
func newGuard(c config.Config, g collective.Group, m *model.Model, done *counts) *guard {
	ps := m.Parameters()
	w := &guard{group: g, repair: c.Merge.Lockstep == "repair", done: done, digests: make([]uint64, len(ps))}
	for _, p := range ps {
		w.held, w.names = append(w.held, held{value: p.Value}), append(w.names, p.Name)
	}
	return w
}

// along has slices follow the parameter that lies at value.
func (w *guard) along(value []float32, with ...[]float32) {
	for i := range w.held {
		if &w.held[i].value[0] == &value[0] {
			w.held[i].with = append(w.held[i].with, with...)
			return
		}
	}
	panic("train: a parameter that the model does not have")
}

// alongTrained has slices follow in which parameters lie one after another.
func (w *guard) alongTrained(trained []model.Parameter, all ...[]float32) {
	at := 0
	for _, p := range trained {
		for _, x := range all {
			w.along(p.Value, x[at:at+len(p.Value)])
		}
		at += len(p.Value)
	}
}

// alongHead has what W = W⁰ + s·BA is formed of, and b likewise, follow it where all ranks train one head alike.
func (w *guard) alongHead(h *heads) {
	worker := h.crew[0]
	flat := append(worker.parts[0].moments(), h.values) // factors' places hold for each
	for _, p := range h.layout.Layers {
		base, baseB := worker.heads[0].Adapter(p.Layer).Base()
		for _, x := range flat {
			w.along(p.Layer.W.Data, x[p.A:p.BiasA])
		}
		if base != nil {
			w.along(p.Layer.W.Data, base)
		}
		if p.End == p.BiasA { // no biases
			continue
		}
		for _, x := range flat {
			w.along(p.Layer.B, x[p.BiasA:p.End])
		}
		if baseB != nil {
			w.along(p.Layer.B, baseB)
		}
	}
	if r := worker.replicas; r != nil {
		w.alongTrained(r.trained, append(worker.parts[1].moments(), r.value)...)
	}
}

// newGuard has what a merge forms of the exchange follow: W⁰ and b⁰, and the replicas and their mean.
func (l *lte) newGuard(g collective.Group) *guard {
	w := newGuard(l.config, g, l.model, &l.done)
	for i, o := range l.origins {
		layer := l.layout.Layers[i].Layer
		w.along(layer.W.Data, o.w)
		if o.b != nil {
			w.along(layer.B, o.b)
		}
	}
	for i, v := range l.momentum.velocity {
		w.along(l.layout.Layers[i].Layer.W.Data, v)
	}
	if l.mean != nil {
		for _, worker := range l.crew {
			w.alongTrained(worker.replicas.trained, worker.replicas.value)
		}
		w.alongTrained(l.crew[0].replicas.trained, l.merged)
	}
	return w
}

// prove returns a *collective.LockstepError on all ranks if one differs from rank 0, unless it repairs that.
func (w *guard) prove() error {
	for i, h := range w.held {
		w.digests[i] = collective.Digest(h.value)
	}
	err := collective.CheckLockstep(w.group, w.names, w.digests)
	var broken *collective.LockstepError
	if !w.repair || !errors.As(err, &broken) {
		return err
	}
	for _, i := range broken.Layers {
		for _, x := range append(w.held[i].with, w.held[i].value) {
			if err := collective.Broadcast(w.group, x); err != nil {
				return fmt.Errorf("repairing %s: %w", w.names[i], err)
			}
		}
	}
	w.done.repairs += len(broken.Layers)
	w.done.repaired = broken.Differences
	return nil
}
