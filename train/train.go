// Package train is the rhythm of the program: K local steps, a merge in lockstep, and again. It has the methods (LTE and its baselines),
// optimizers and schedules, the loop, evaluation and measurement, and checkpoints. It knows no MPI, only collective.Group; it writes no
// files but checkpoints, through package checkpoint, and reports to an Observer on rank 0.
package train

import (
	"errors"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/merge"
	"lte/record"
)

// loop trains to the last step: K local steps of every head, then a merge in lockstep on all ranks.
func (t *Trainer) loop() error {
	if k := t.unreported; k > 0 { // resumed from the end of a run, which is saved before its last report
		if err := t.reportMerge(k); err != nil {
			return err
		}
	}
	for t.step < t.config.Train.Steps {
		k := t.nextInterval()
		status, err := t.localSteps(k)
		if err != nil {
			return err
		}
		if _, err := t.Merge(k, status); err != nil {
			return err
		}
		if err := t.checkpoints.atEnd(k); err != nil {
			return err
		}
		if err := t.reportMerge(k); err != nil {
			return err
		}
	}
	return nil
}

// Trainer is one rank's part of a run.
type Trainer struct {
	*engine
	progress
	evaluation
	feed        feed
	observer    record.Observer // nil but on rank 0
	checkpoints *checkpointer   // nil: none
	activity    Activity
	lastFinite  []float32 // on rank 0: the weights that can train, at the last record at which they were finite
}

// feed is where batches come from: a data.Feed, or a test's own.
type feed interface {
	Next() (*data.Batch, error)
	Wait() time.Duration // that Next has waited for a batch so far
}

// New builds the model, draws its weights and makes the method ready. A configuration that cannot be is a *config.Error.
func New(c config.Config, g collective.Group, set *data.Set, be compute.Backend) (*Trainer, error) {
	return build(c, g, set, be, nil)
}

// build is New with the route of a run that is resumed; nil: the route is chosen.
func build(c config.Config, g collective.Group, set *data.Set, be compute.Backend, route *merge.Route) (*Trainer, error) {
	e, err := newEngine(c, g, set, be, route)
	if err != nil {
		return nil, err
	}
	t := &Trainer{engine: e}
	t.probe, err = newProbe(c.Measure, set, e.model)
	return t, err
}

// Activity is what the run is doing; it may be asked for from any goroutine.
func (t *Trainer) Activity() *Activity { return &t.activity }

// Run trains to the configured number of steps and returns the summary, without what the caller knows (threads, MPI, version). obs, nil on
// all ranks but 0, is told what happens. On a *NonFiniteError rank 0's model has the last finite weights: those of the last merge, or if
// they overflowed too, of the last record.
func (t *Trainer) Run(obs record.Observer) (record.Summary, error) {
	f := t.newFeed()
	defer f.Close()
	t.feed, t.observer = f, obs
	t.keepFinite()
	s, err := t.run()
	if errors.As(err, new(*NonFiniteError)) {
		t.algorithm.loadMerged()
	}
	if err != nil && t.lastFinite != nil && !t.finiteWeights() {
		copy(t.model.Flat(), t.lastFinite)
	}
	return s, err
}

func (t *Trainer) run() (record.Summary, error) {
	if r, ok := t.route(); ok && r.Network != nil && t.observer != nil {
		t.observer.Note(r.String())
	}
	t.seconds.start()
	if err := t.loop(); err != nil {
		return record.Summary{}, err
	}
	return t.summary(), nil
}

// reportMerge evaluates and records after an interval of k steps, and saves, whatever is due.
func (t *Trainer) reportMerge(k int) error {
	if err := t.report(k); err != nil {
		return err
	}
	return t.checkpoints.afterMerge(k)
}

// keepFinite copies the weights on rank 0, which saves them, if they are finite.
func (t *Trainer) keepFinite() {
	if t.observer == nil || !t.finiteWeights() {
		return
	}
	t.lastFinite = append(t.lastFinite[:0], t.model.Flat()...)
}

// nextInterval is K, the steps to the next merge, those of an interval included that a checkpoint has interrupted.
func (t *Trainer) nextInterval() int {
	begin := t.step - t.sinceMerge.done
	return max(t.sinceMerge.done, min(t.algorithm.interval(begin), t.config.Train.Steps-begin))
}

// localSteps trains the rest of an interval of k steps. After a loss or gradient that is not finite it makes no further update: the status
// tells the other ranks at the merge.
func (t *Trainer) localSteps(k int) (merge.Status, error) {
	status := &t.sinceMerge.status
	for t.sinceMerge.done < k {
		if status.Failed == 0 {
			t.activity.begin(reading, t.step)
			batch, err := t.next()
			if err != nil {
				return *status, err
			}
			t.activity.begin(training, t.step)
			loss, ok, err := t.LocalStep(batch)
			if err != nil {
				return *status, err
			}
			status.Loss += loss / float64(k)
			if !ok {
				*status = merge.Status{Loss: loss, Failed: t.sinceMerge.done + 1}
			}
			if t.observer != nil {
				t.observer.Progress(t.step+1, loss)
			}
		}
		t.step++
		t.sinceMerge.done++
		if err := t.checkpoints.afterStep(t.sinceMerge.done == k); err != nil {
			return *status, err
		}
	}
	ended := *status
	t.sinceMerge = interval{}
	return ended, nil
}

// LocalStep is the next step of every worker of this rank on a batch of mini-batches, one after another. Unless ok, a loss or gradient is
// not finite, and its worker and those after it were not updated.
func (t *Trainer) LocalStep(batch *data.Batch) (loss float64, ok bool, err error) {
	t.lr = t.rate(t.step)
	return t.localStep(t.step, batch)
}

// Merge ends an interval of k steps in lockstep on all ranks; it returns the mean loss of all ranks over the steps that are merged with
// it, NaN of none.
func (t *Trainer) Merge(k int, status merge.Status) (loss float64, err error) {
	t.activity.begin(merging, t.step)
	m, err := t.merge(t.step, k, status)
	if m.steps > 0 {
		t.losses += m.loss * float64(m.steps)
		t.merged += m.steps
	}
	return m.loss, err
}

// next returns the next step's batch.
func (t *Trainer) next() (*data.Batch, error) {
	before := t.feed.Wait()
	b, err := t.feed.Next()
	t.waited += (t.feed.Wait() - before).Seconds()
	return b, err
}

// newFeed provides this rank's images of every step: those of its workers' mini-batches, one after another, each out of the whole set or
// of the worker's shard, or one mini-batch for all workers of all ranks.
func (t *Trainer) newFeed() *data.Feed {
	d := t.config.Data
	o := data.FeedOptions{Seed: t.config.Seed, Batch: len(t.workers) * t.config.Train.Batch, Rank: t.meter.Rank(), Size: t.meter.Size(), Start: t.step,
		Shift: t.shift, Augment: Augment(d)}
	switch d.Share {
	case "same":
		o.Batch, o.Rank, o.Size = t.config.Train.Batch, 0, 1
	case "shard":
		o.Shards = t.allWorkers()
	}
	return data.NewFeed(t.set, o)
}

// Augment is the configured augmentation of training images.
func Augment(d config.Data) (a data.Augment) {
	if d.Augment {
		a = data.Augment{Affine: data.Affine{Rotate: d.Rotate, Shift: d.Shift, Scale: d.Scale, Shear: d.Shear}, Flip: d.Flip, Crop: d.Crop,
			RandAugment: data.RandAugment{Operations: d.RandAug, Magnitude: d.RandMag},
			Colour:      data.ColourJitter{Brightness: d.Bright, Contrast: d.Contrast, Saturation: d.Saturate}, Erasing: data.Erasing(d.Erasing)}
		if d.RRC == "on" || d.RRC == "auto" && d.Size > 0 {
			a.ResizedCrop = data.ResizedCrop{Area: d.Area, Aspect: d.Aspect}
		}
	}
	return a
}

// Sent is how many bytes this rank has sent so far, for all purposes.
func (t *Trainer) Sent() int64 { return t.meter.Sent() }

// Traffic is what this rank has sent and received so far, by purpose.
func (t *Trainer) Traffic() record.Traffic {
	of := func(p collective.Purpose) record.Bytes { return record.Bytes(t.meter.Traffic(p)) }
	return record.Traffic{Merge: of(collective.Merging), Gradients: of(collective.Gradients),
		Evaluation: of(collective.Evaluation), Control: of(collective.Control)}
}

// route is how heads travel; ok is false where none do.
func (t *Trainer) route() (r merge.Route, ok bool) {
	if own := t.algorithm.own(); own != nil {
		return own.merger.Route(), true
	}
	return r, false
}
