package train

import (
	"fmt"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/merge"
	"lte/model"
)

// progress is what a run has done: every counter that a checkpoint keeps. All but the interval's loss are the same on all ranks.
//
// Between two steps sinceMerge.done < K and sinceMerge.done ≤ step; unreported is not 0 only after the last step; merged ≤ step.
type progress struct {
	step       int      // local steps done
	sinceMerge interval // of them, those since the last merge
	unreported int      // steps of the last interval, which is merged and not reported yet
	lr         float64  // of the last step
	seconds    clock
	waited     float64 // seconds that steps waited for their batches
	losses     float64 // sum of the mean losses of merged steps since the last record
	merged     int     // these steps
	shift      int     // images seen beyond step × those of a step, as these were others before a resume
	lastImages int     // seen at the last record
	records    int     // lines of metrics.jsonl
	best       float64 // largest test_top1
}

// interval is the local steps since the last merge.
type interval struct {
	done   int
	status merge.Status
}

// Names that elastic resumes look for.
const intervalLoss = "interval.loss"

func headName(k int) string { return fmt.Sprintf("head.%d", k) }

func (p *progress) state(s *checkpoint.State) {
	p.seconds.stop()
	s.Shared.Int("run.step", &p.step)
	s.Shared.Int("run.records", &p.records)
	s.Shared.Real("run.seconds", &p.seconds.run)
	s.Shared.Real("run.seconds_since_record", &p.seconds.record)
	s.Shared.Real("run.data_wait", &p.waited)
	s.Shared.Real("run.losses", &p.losses)
	s.Shared.Int("run.merged", &p.merged)
	s.Shared.Int("run.last_images", &p.lastImages)
	s.Shared.Int("run.images_shift", &p.shift)
	s.Shared.Real("run.lr", &p.lr)
	s.Shared.Real("run.best", &p.best)
	s.Shared.Int("interval.done", &p.sinceMerge.done)
	s.Own.Real(intervalLoss, &p.sinceMerge.status.Loss)
}

// state is the memory that the future of a run depends on. What is not named follows from the configuration and the step: batches and
// their mixing, noise, A of resets, learning rates, W⁰ of measurements.
type state struct {
	checkpoint.State
	measured bool // the estimates of all heads are still to be measured
}

// state is that of the whole run.
func (t *Trainer) state() *state {
	s := &state{measured: t.unreported > 0 && t.probe != nil}
	t.progress.state(&s.State)
	for _, p := range collective.Purposes() {
		counted := t.meter.Counted(p)
		s.Own = append(s.Own, checkpoint.Int("traffic."+p.String()+".sent", &counted.Sent),
			checkpoint.Int("traffic."+p.String()+".received", &counted.Received))
	}
	if t.average != nil {
		s.Shared.Floats("average", t.average.values)
	}
	t.algorithm.state(s)
	return s
}

// weights names the model's parameters.
func (*state) weights(t *checkpoint.Tensors, m *model.Model) {
	for _, p := range m.Parameters() {
		t.Memory("weights."+p.Name, string(p.Value.Format()), p.Value.Bytes())
	}
}

func (w *worker) moments(t *checkpoint.Tensors, name string) {
	for i, p := range w.groups {
		p.state(t, fmt.Sprintf("%s.optimizer.%d", name, i))
	}
}

func (c *counts) state(s *state) {
	s.Shared.Int("merges", &c.merges)
	s.Own.Int("moments_cleared", &c.cleared)
}

// state names all weights, which are the same on all ranks, and the heads in to.
func (h *heads) state(s *state, to *checkpoint.Tensors) {
	s.weights(&s.Shared, h.model)
	for i, w := range h.workers {
		name := headName(h.first + i)
		to.Floats(name+".factors", w.heads[0].Value)
		if merged := w.heads[0].Merged; merged != nil {
			to.Floats(name+".merged", merged)
		}
		if w.replicas != nil {
			to.Floats(name+".replicas", w.replicas.value)
		}
		w.moments(to, name)
	}
}

// clock is the time that a run has taken, without interruptions.
type clock struct {
	run, record     float64 // seconds, of the run and since its last record, when it was stopped
	started, lastAt time.Time
}

// start continues from what was counted before.
func (c *clock) start() {
	now := time.Now()
	c.started, c.lastAt = now.Add(-duration(c.run)), now.Add(-duration(c.record))
}

// stop reads the time; the clock keeps running.
func (c *clock) stop() {
	if !c.started.IsZero() {
		c.run, c.record = time.Since(c.started).Seconds(), time.Since(c.lastAt).Seconds()
	}
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
