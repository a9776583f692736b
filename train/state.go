package train

import (
	"fmt"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/merge"
	"lte/model"
)

// state names the memory that the future of a run depends on. Saving copies it away and restoring copies it back: nothing can
// be saved that is not restored. What is not named follows from the configuration and the step: batches and their mixing,
// noise, A of resets, learning rates, W⁰ as measurements know it.
type state struct {
	shared tensors // the same on all ranks
	own    tensors // of this rank
	heads  bool    // what ranks hold of one another's heads is still to be measured
}

type tensors []checkpoint.Tensor

// Names that elastic resumes look for.
const (
	intervalLoss = "interval.loss"
	flightOf     = "flight." // a rank's
)

func headName(k int) string { return fmt.Sprintf("head.%d", k) }

func (t *tensors) floats(name string, x []float32) { *t = append(*t, checkpoint.Floats(name, x)) }
func (t *tensors) int(name string, x *int)         { *t = append(*t, checkpoint.Int(name, x)) }
func (t *tensors) real(name string, x *float64)    { *t = append(*t, checkpoint.Real(name, x)) }

// state is that of the whole run.
func (t *Trainer) state() (s state) {
	t.seconds.stop()
	s.heads = t.merging > 0 && t.probe != nil
	s.shared.int("run.step", &t.step)
	s.shared.int("run.records", &t.records)
	s.shared.real("run.seconds", &t.seconds.run)
	s.shared.real("run.seconds_since_record", &t.seconds.record)
	s.shared.real("run.data_wait", &t.waited)
	s.shared.real("run.losses", &t.losses)
	s.shared.int("run.merged", &t.merged)
	s.shared.int("run.last_images", &t.lastImages)
	s.shared.int("run.images_shift", &t.shift)
	s.shared.real("run.lr", &t.lr)
	s.shared.real("run.best", &t.best)
	s.shared.int("interval.done", &t.under.done)
	s.own.real(intervalLoss, &t.under.status.Loss)
	for _, p := range collective.Purposes() {
		counted := t.meter.Counted(p)
		s.own = append(s.own, checkpoint.Int("traffic."+p.String()+".sent", &counted.Sent),
			checkpoint.Int("traffic."+p.String()+".received", &counted.Received))
	}
	if t.average != nil {
		s.shared.floats("average", t.average.values)
	}
	t.method.state(&s)
	return s
}

// clock is the time that a run has taken, interruptions left out.
type clock struct {
	run, record     float64 // seconds, of the run and since its last record, until it was stopped
	started, lastAt time.Time
}

// start begins to count, from what was counted before.
func (c *clock) start() {
	now := time.Now()
	c.started, c.lastAt = now.Add(-duration(c.run)), now.Add(-duration(c.record))
}

// stop takes the time; the clock goes on.
func (c *clock) stop() {
	if !c.started.IsZero() {
		c.run, c.record = time.Since(c.started).Seconds(), time.Since(c.lastAt).Seconds()
	}
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// weights names the model's parameters.
func (t *tensors) weights(m *model.Model) {
	for _, p := range m.Parameters() {
		t.floats("weights."+p.Name, p.Value)
	}
}

func (w *worker) moments(t *tensors, name string) {
	for i, p := range w.parts {
		p.state(t, fmt.Sprintf("%s.optimizer.%d", name, i))
	}
}

func (o *adamW) state(t *tensors, name string) {
	t.floats(name+".m", o.m)
	t.floats(name+".v", o.v)
	t.int(name+".steps", &o.t)
}

func (o *sgd) state(t *tensors, name string) { t.floats(name+".momentum", o.buffer) }

func (c *counts) state(s *state) {
	s.shared.int("merges", &c.merges)
	s.own.int("moments_cleared", &c.cleared)
}

// state names heads, which are the same on all ranks or this rank's own, and all weights, which are the same.
func (h *heads) state(s *state, to *tensors) {
	s.shared.weights(h.model)
	for i, w := range h.crew {
		name := headName(h.first + i)
		to.floats(name+".factors", w.heads[0].Value)
		to.floats(name+".merged", w.heads[0].Merged)
		if w.replicas != nil {
			to.floats(name+".replicas", w.replicas.value)
		}
		w.moments(to, name)
	}
}

func (l *lte) state(s *state) {
	l.done.state(s)
	l.heads.state(s, &s.own)
	for i, o := range l.origins {
		name := "origin." + l.layout.Layers[i].Layer.Name
		s.shared.floats(name+".weight", o.w)
		if o.b != nil {
			s.shared.floats(name+".bias", o.b)
		}
	}
	for i, v := range l.momentum.velocity {
		s.shared.floats("merge.velocity."+l.layout.Layers[i].Layer.Name+".weight", v)
	}
	if l.mean != nil {
		s.shared.floats("replicas", l.merged)
	}
	if l.config.Exchange.Overlap {
		l.flightState(s)
	}
	l.gathering.State(l.config.Exchange.Overlap || s.heads, s.shared.floats, s.own.floats)
}

// flightState names what has landed and is not taken up yet: nothing, before the first merge.
func (l *lte) flightState(s *state) {
	l.wait()
	f := &l.arrived
	f.statuses = append(f.statuses[:0], make([]merge.Status, l.config.LoRA.Heads/len(l.crew))...)
	f.step, f.k = 0, 0
	if l.aloft != nil {
		f.step, f.k = l.aloft.step, l.aloft.k
		copy(f.statuses, l.aloft.statuses)
	}
	s.shared.int("flight.step", &f.step)
	s.shared.int("flight.steps", &f.k)
	s.shared.statuses(f.statuses)
}

// statuses names losses: where a rank has failed nothing is kept.
func (t *tensors) statuses(all []merge.Status) {
	for rank := range all {
		t.real(fmt.Sprintf("%s%d.loss", flightOf, rank), &all[rank].Loss)
	}
}

func (l *lte) restored() {
	if f := l.arrived; f.k > 0 {
		f.landed = make(chan struct{})
		close(f.landed)
		l.aloft = &f
		l.gathering.RestoredReceived()
	}
	for _, w := range l.crew {
		w.heads[0].Rebase()
	}
}

func (m full) state(s *state) {
	m.done.state(s)
	s.shared.weights(m.model)
	m.worker.moments(&s.shared, "weights")
}

func (m full) restored() {}

func (m *loraMethod) state(s *state) {
	m.done.state(s)
	m.heads.state(s, &s.shared)
	m.baseState(s)
}

func (m *loraMethod) restored() {}

// baseState names W⁰, which a head keeps where W is formed of both.
func (m *loraMethod) baseState(s *state) {
	for _, p := range m.layout.Layers {
		w, b := m.worker.heads[0].Adapter(p.Layer).Base()
		s.shared.floats("origin."+p.Layer.Name+".weight", w)
		if b != nil {
			s.shared.floats("origin."+p.Layer.Name+".bias", b)
		}
	}
}

func (m *sequential) state(s *state) {
	m.done.state(s)
	m.heads.state(s, &s.shared)
}

func (m *sequential) restored() {}

func (m *localSGD) state(s *state) {
	m.begin()
	m.done.state(s)
	s.own.weights(m.model)
	m.worker.moments(&s.own, "weights")
	s.shared.floats("merged", m.merged)
	if m.velocity != nil {
		s.shared.floats("outer.velocity", m.velocity)
	}
}

func (m *localSGD) restored() {}
