// Package train is the rhythm of the program: K local steps, a merge in lockstep, and again. It holds the methods (LTE
// and what it is compared with), optimizers and schedules, the loop, and evaluation. It knows no MPI, only
// collective.Group; it writes no files but checkpoints, through package checkpoint, and tells an Observer on rank 0 what happens.
package train

import (
	"errors"
	"fmt"
	"math"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/merge"
	"lte/model"
	"lte/random"
	"lte/record"
	"lte/task"
)

// Trainer is one rank's part of a run.
type Trainer struct {
	config   config.Config
	meter    *collective.Meter
	set      *data.Set
	backend  compute.Backend
	model    *model.Model
	task     task.Task
	method   algorithm
	workers  []*worker
	together *crew           // all workers, where one pass serves them
	average  *average        // nil: none
	probe    *probe          // nil: none
	observer record.Observer // nil but on rank 0
	feed     feed

	step       int      // local steps done
	under      interval // of them, those since the last merge
	merging    int      // steps of an interval that is merged and not reported yet
	lr         float64
	seconds    clock
	waited     float64 // seconds that steps waited for their batches
	losses     float64 // sum of merged steps' mean losses since the last record
	merged     int     // these steps
	shift      int     // images seen beyond step times those of a step, as these were others before a resume
	lastImages int     // seen at the last record
	records    int
	best       float64 // largest test_top1
	better     bool    // the last step's is the largest
	last       record.Record
	keeper     *keeper // nil: no checkpoints
	activity   Activity
	good       []float32 // on rank 0: the weights that can train, at the last record at which they were finite
}

// interval is what was trained since the last merge.
type interval struct {
	done   int // steps
	status merge.Status
}

// feed is where batches come from: a data.Feed, or a test's own.
type feed interface {
	Next() (*data.Batch, error)
	Wait() time.Duration // that Next has waited for a batch so far
}

// New builds the model, draws its weights and makes the method ready. A configuration that cannot be is a
// *config.Error.
func New(c config.Config, g collective.Group, set *data.Set, be compute.Backend) (*Trainer, error) {
	return build(c, g, set, be, nil)
}

// build is New, of a run whose heads travel as those of another, or as is found best.
func build(c config.Config, g collective.Group, set *data.Set, be compute.Backend, as *Route) (*Trainer, error) {
	if err := Augment(c.Data).Check(set.Channels, set.Height, set.Width); err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	v, err := model.New(shape(c, set), be, random.Stream(c.Seed, "weights")) // the same bits on every rank
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	if !c.Exchange.ShareMemory {
		g = collective.WithoutSharedMemory(g)
	}
	meter := collective.NewMeter(g)
	if c.SharesWeights() && g.Size() > 1 {
		if err := share(v, sharers(c, meter)); err != nil {
			return nil, err
		}
	}
	m, err := newAlgorithm(c, meter, be, v, as)
	if err != nil {
		return nil, err
	}
	p, err := newProbe(c.Measure, set, v)
	if err != nil {
		return nil, err
	}
	t := &Trainer{config: c, meter: meter, set: set, backend: be, model: v, task: task.Classification{LabelSmoothing: c.Train.LabelSmoothing}, method: m, workers: m.workers(), probe: p}
	if c.Data.Share == "shard" && set.Train.Len() < t.everyone() {
		return nil, &config.Error{Keys: []string{"data.share"}, Problem: fmt.Sprintf(
			"data.share = \"shard\": %d training images are too few for %d shards; set data.share = \"split\"", set.Train.Len(), t.everyone())}
	}
	if t.together = together(c, t.workers); t.together != nil {
		v.Reserve(max(len(t.workers)*perPass(c), c.Train.EvalBatch))
	}
	if c.EMA.Decay > 0 {
		if t.average, err = newAverage(c.EMA.Decay, v, sharers(c, meter)); err != nil {
			return nil, err
		}
		t.average.overlap = c.Exchange.Overlap
	}
	return t, nil
}

// sharers is the group of which a node's ranks hold W in common; apart where they do not.
func sharers(c config.Config, m *collective.Meter) collective.Group {
	g := m.For(collective.Control)
	if !c.SharesWeights() {
		g = collective.WithoutSharedMemory(g)
	}
	return g
}

// share puts the model's weights, the same on all ranks, where the ranks of a node have them in common.
func share(m *model.Model, g collective.Group) error {
	weights, err := inCommon(g, m.Weights())
	if err != nil {
		return fmt.Errorf("room for W: %w", err)
	}
	m.SetStorage(weights)
	return nil
}

// inCommon is a copy of x, which is the same on all ranks, that the ranks of a node have in common.
func inCommon(g collective.Group, x []float32) ([]float32, error) {
	y, err := collective.Memory(g, len(x))
	if err != nil {
		return nil, err
	}
	from, to := collective.Part(g, len(x))
	copy(y[from:to], x[from:to])
	return y, g.NodeBarrier()
}

// shape is the configured model's, for images of that set.
func shape(c config.Config, set *data.Set) model.Config {
	return model.Config{ImageHeight: set.Height, ImageWidth: set.Width, Channels: set.Channels, Classes: set.Classes,
		Kind: c.Model.Kind, Patch: c.Model.Patch, Depth: c.Model.Depth, Width: c.Model.Width, MLP: c.Model.MLP,
		Heads: c.Model.Heads, TokenMLP: c.Model.TokenMLP, Positions: c.Model.Positions, NormAffine: c.Model.NormAffine,
		Dropout: c.Model.Dropout, DropPath: c.Model.DropPath, Batch: max(perPass(c), c.Train.EvalBatch)}
}

// perPass is the images of a training pass of one worker.
func perPass(c config.Config) int { return c.Train.Batch / c.Train.Accumulate }

// Model returns the model; its main weights are those of the last merge.
func (t *Trainer) Model() *model.Model { return t.model }

// Activity is what the run is doing; it may be asked from any goroutine.
func (t *Trainer) Activity() *Activity { return &t.activity }

// Sent is how many bytes this rank has sent so far, for all purposes.
func (t *Trainer) Sent() int64 { return t.meter.Sent() }

// Traffic is what this rank has sent and received so far, by purpose.
func (t *Trainer) Traffic() record.Traffic {
	m := t.meter
	return record.Traffic{Merge: record.Bytes(m.Traffic(collective.Merging)), Gradients: record.Bytes(m.Traffic(collective.Gradients)),
		Evaluation: record.Bytes(m.Traffic(collective.Evaluation)), Control: record.Bytes(m.Traffic(collective.Control))}
}

// Trained is how many numbers the optimizers move on this rank.
func (t *Trainer) Trained() (n int) {
	for _, w := range t.workers {
		n += w.trained()
	}
	return n
}

// Average returns the parameters with the moving average of those of the merges for W; nil if the run keeps none.
func (t *Trainer) Average() []model.Parameter {
	if t.average == nil {
		return nil
	}
	return t.model.With(t.average.values)
}

// withAverage calls f while the model's weights are the moving average, if the run keeps one.
func (t *Trainer) withAverage(f func() error) error {
	if t.average == nil {
		return nil
	}
	if err := t.average.swap(t.model.Flat()); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return t.average.swap(t.model.Flat())
}

// Run trains to the configured number of steps and returns the summary, but for what the caller knows (threads, MPI,
// version). obs, nil on all ranks but 0, is told what happens. On a *NonFiniteError rank 0's model has the last good
// weights: those of the last merge, or where they overflowed too, of the last record.
func (t *Trainer) Run(obs record.Observer) (record.Summary, error) {
	f := t.newFeed()
	defer f.Close()
	t.feed, t.observer = f, obs
	t.keepGood()
	s, err := t.run()
	if errors.As(err, new(*NonFiniteError)) {
		t.method.settle()
	}
	if err != nil && t.good != nil && !t.finiteWeights() {
		copy(t.model.Flat(), t.good)
	}
	return s, err
}

// keepGood copies the weights on rank 0, which saves them, if they are finite.
func (t *Trainer) keepGood() {
	if t.observer == nil || !t.finiteWeights() {
		return
	}
	t.good = append(t.good[:0], t.model.Flat()...)
}

func (t *Trainer) finiteWeights() bool {
	return finite(t.backend.SumSquares(t.model.Flat()))
}

func (t *Trainer) run() (record.Summary, error) {
	if r := t.route(); r.Network != nil && t.observer != nil {
		t.observer.Note(r.String())
	}
	t.seconds.start()
	for t.step < t.config.Train.Steps || t.merging > 0 {
		if t.merging == 0 {
			if err := t.trainInterval(); err != nil {
				return record.Summary{}, err
			}
		}
		k := t.merging
		t.merging = 0
		if err := t.report(k); err != nil {
			return record.Summary{}, err
		}
		if err := t.keepMerge(k); err != nil {
			return record.Summary{}, err
		}
	}
	return t.summary(), nil
}

// trainInterval trains to the next merge and merges. The end of a run is kept before its last report, so that the report is
// made again where the run is to become longer.
func (t *Trainer) trainInterval() error {
	begin := t.step - t.under.done
	k := max(t.under.done, min(t.method.interval(begin), t.config.Train.Steps-begin))
	status, err := t.localSteps(k)
	if err != nil {
		return err
	}
	if _, err := t.Merge(k, status); err != nil {
		return err
	}
	t.merging = k
	if t.step == t.config.Train.Steps {
		t.activity.begin(ending, t.step)
	}
	return t.keepEnd()
}

// newFeed deals out this rank's images of every step: those of its workers' mini-batches, one after another, each out of the
// whole set or of the worker's shard, or one mini-batch for all workers of all ranks.
func (t *Trainer) newFeed() *data.Feed {
	d := t.config.Data
	o := data.FeedOptions{Seed: t.config.Seed, Batch: len(t.workers) * t.config.Train.Batch, Rank: t.meter.Rank(), Size: t.meter.Size(), Start: t.step,
		Shift: t.shift, Augment: Augment(d)}
	switch d.Share {
	case "same":
		o.Batch, o.Rank, o.Size = t.config.Train.Batch, 0, 1
	case "shard":
		o.Shards = t.everyone()
	}
	return data.NewFeed(t.set, o)
}

// everyone is how many workers there are on all ranks.
func (t *Trainer) everyone() int { return len(t.workers) * t.meter.Size() }

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

// localSteps trains the rest of an interval of k steps. After a loss or gradient that is not finite it makes no further
// update: the status tells the other ranks at the merge.
func (t *Trainer) localSteps(k int) (merge.Status, error) {
	status := &t.under.status
	for t.under.done < k {
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
				*status = merge.Status{Loss: loss, Failed: t.under.done + 1}
			}
			if t.observer != nil {
				t.observer.Progress(t.step+1, loss)
			}
		}
		t.step++
		t.under.done++
		if err := t.boundary(t.under.done == k); err != nil {
			return *status, err
		}
	}
	ended := *status
	t.under = interval{}
	return ended, nil
}

// next returns the next step's batch.
func (t *Trainer) next() (*data.Batch, error) {
	before := t.feed.Wait()
	b, err := t.feed.Next()
	t.waited += (t.feed.Wait() - before).Seconds()
	return b, err
}

// Merge ends an interval of k steps in lockstep on all ranks; it returns the mean loss of all ranks over the steps that are
// merged with it, NaN of none.
func (t *Trainer) Merge(k int, status merge.Status) (loss float64, err error) {
	t.activity.begin(merging, t.step)
	e, err := t.method.merge(t.step, k, status)
	if err != nil {
		return 0, err
	}
	if e.steps == 0 {
		return math.NaN(), nil
	}
	t.losses += e.loss * float64(e.steps)
	t.merged += e.steps
	if t.average != nil {
		err = t.average.add(t.model.Flat(), e.steps)
	}
	return e.loss, err
}
