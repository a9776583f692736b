// Package train is the rhythm of the program: K local steps, a merge in lockstep, and again. It holds the methods (LTE
// and what it is compared with), optimizers and schedules, the loop, and evaluation. It knows no MPI, only
// collective.Group; it writes no files, and tells an Observer on rank 0 what happens.
package train

import (
	"fmt"
	"math"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/model"
	"lte/random"
)

// Trainer is one rank's part of a run.
type Trainer struct {
	config   config.Config
	group    collective.Group
	set      *data.Set
	backend  compute.Backend
	model    *model.ViT
	method   method
	trained  parameters
	opt      optimizer
	observer Observer // nil but on rank 0
	feed     feed

	step     int // local steps done
	lr       float64
	sent     int64 // the group's count when the run began
	started  time.Time
	losses   float64 // sum of merged intervals' mean losses since the last record, weighted by steps
	lastStep int     // of the last record
	lastTime time.Time
	last     Record
	good     []float32 // on rank 0: the weights that can train, at the last record at which they were finite
}

// feed is where batches come from: a data.Feed, or a test's own.
type feed interface{ Next() (*data.Batch, error) }

// New builds the model, draws its weights and makes the method ready. A configuration that cannot be is a
// *config.Error.
func New(c config.Config, g collective.Group, set *data.Set, be compute.Backend) (*Trainer, error) {
	shape := model.Config{ImageHeight: set.Height, ImageWidth: set.Width, Channels: set.Channels, Classes: set.Classes,
		Patch: c.Model.Patch, Depth: c.Model.Depth, Width: c.Model.Width, MLP: c.Model.MLP, Heads: c.Model.Heads,
		Positions: c.Model.Positions, NormAffine: c.Model.NormAffine, Batch: max(c.Train.Batch, c.Train.EvalBatch)}
	v, err := model.NewViT(shape, be, random.Stream(c.Seed, "weights")) // the same bits on every rank
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	m, err := newMethod(c, g, be, v)
	if err != nil {
		return nil, err
	}
	t := &Trainer{config: c, group: g, set: set, backend: be, model: v, method: m, trained: m.trained()}
	t.opt = newOptimizer(c.Optimizer, be, t.trained)
	return t, nil
}

// Model returns the model; its main weights are those of the last merge.
func (t *Trainer) Model() *model.ViT { return t.model }

// Trained is how many numbers the optimizer moves on this rank.
func (t *Trainer) Trained() int { return len(t.trained.value) }

// Run trains to the configured number of steps and returns the summary, but for what the caller knows (threads, MPI,
// version). obs, nil on all ranks but 0, is told what happens. On a *NonFiniteError rank 0's model has the last good
// weights: those of the last merge, or where they overflowed too, of the last record.
func (t *Trainer) Run(obs Observer) (Summary, error) {
	f := t.newFeed()
	defer f.Close()
	t.feed, t.observer = f, obs
	t.keepGood()
	s, err := t.run()
	if err != nil && t.good != nil && !t.finiteWeights() {
		weights, _ := t.model.Flat()
		copy(weights, t.good)
	}
	return s, err
}

// keepGood copies the weights on rank 0, which saves them, if they are finite.
func (t *Trainer) keepGood() {
	if t.observer == nil || !t.finiteWeights() {
		return
	}
	weights, _ := t.model.Flat()
	t.good = append(t.good[:0], weights...)
}

func (t *Trainer) finiteWeights() bool {
	weights, _ := t.model.Flat()
	return finite(t.backend.SumSquares(weights))
}

func (t *Trainer) run() (Summary, error) {
	t.sent, t.started = t.group.Sent(), time.Now()
	t.lastTime = t.started
	for t.step < t.config.Train.Steps {
		k := min(t.method.interval(), t.config.Train.Steps-t.step)
		status, err := t.localSteps(k)
		if err != nil {
			return Summary{}, err
		}
		loss, err := t.Merge(status)
		if err != nil {
			return Summary{}, err
		}
		t.losses += loss * float64(k)
		if err := t.report(k); err != nil {
			return Summary{}, err
		}
	}
	return t.summary(), nil
}

func (t *Trainer) newFeed() *data.Feed {
	d := t.config.Data
	o := data.FeedOptions{Seed: t.config.Seed, Batch: t.config.Train.Batch, Rank: t.group.Rank(), Size: t.group.Size(), Start: t.step}
	if d.Augment {
		o.Augment = &data.Affine{Rotate: d.Rotate, Shift: d.Shift, Scale: d.Scale, Shear: d.Shear}
	}
	return data.NewFeed(t.set, o)
}

// localSteps trains k steps. After a loss or gradient that is not finite it makes no further update: the status tells
// the other ranks at the merge.
func (t *Trainer) localSteps(k int) (collective.Status, error) {
	var status collective.Status
	for i := range k {
		if status.Failed == 0 {
			batch, err := t.feed.Next()
			if err != nil {
				return status, err
			}
			loss, ok, err := t.LocalStep(batch)
			if err != nil {
				return status, err
			}
			status.Loss += loss / float64(k)
			if !ok {
				status = collective.Status{Loss: loss, Failed: i + 1}
			}
			if t.observer != nil {
				t.observer.Progress(t.step+1, loss)
			}
		}
		t.step++
	}
	return status, nil
}

// LocalStep is one forward and backward pass over this rank's mini-batch and one move of the optimizer. Unless ok,
// loss or gradient is not finite and nothing has moved.
func (t *Trainer) LocalStep(batch *data.Batch) (loss float64, ok bool, err error) {
	t.model.ZeroGrad()
	t.model.UseLocal()
	logits := t.model.Forward(batch.Images)
	dlogits := logits // the logits are not needed again
	loss, _ = model.CrossEntropy(dlogits.Data, logits.Data, batch.Labels, t.config.Train.LabelSmoothing)
	loss /= float64(len(batch.Labels))
	t.model.Backward(dlogits)
	if loss, err = t.method.exchange(loss); err != nil {
		return loss, false, err
	}
	norm := math.Sqrt(t.backend.SumSquares(t.trained.grad))
	if !finite(loss) || !finite(norm) {
		return loss, false, nil
	}
	t.lr = learningRate(t.config.Optimizer.LR, t.config.Schedule, t.step, t.config.Train.Steps)
	t.opt.step(t.lr, clip(norm, t.config.Optimizer.ClipNorm))
	return loss, true, nil
}

// Merge ends an interval in lockstep on all ranks; it returns the mean loss of all ranks over the interval.
func (t *Trainer) Merge(status collective.Status) (loss float64, err error) {
	return t.method.merge(t.step, status)
}

// report evaluates and records where one of the last k steps was a multiple of the interval for it, or the last.
func (t *Trainer) report(k int) error {
	due := func(every int) bool { return every > 0 && t.step/every > (t.step-k)/every }
	end := t.step == t.config.Train.Steps
	evaluate := end || due(t.config.Run.EvalEvery)
	if !evaluate && !due(t.config.Run.LogEvery) {
		return nil
	}
	now, images := time.Now(), int64(t.config.Train.Batch)*int64(t.group.Size())
	r := Record{Step: t.step, Images: int64(t.step) * images, LR: t.lr, Merges: t.method.merges(),
		TrainLoss:       t.losses / float64(t.step-t.lastStep),
		ImagesPerSecond: float64(int64(t.step-t.lastStep)*images) / now.Sub(t.lastTime).Seconds()}
	if evaluate {
		loss, top1, err := t.evaluate()
		if err != nil {
			return err
		}
		r.TestLoss, r.TestTop1 = &loss, &top1
	}
	r.Seconds, r.BytesSent = time.Since(t.started).Seconds(), t.group.Sent()-t.sent
	t.losses, t.lastStep, t.lastTime, t.last = 0, t.step, time.Now(), r
	if t.observer == nil {
		return nil
	}
	t.keepGood()
	return t.observer.Record(r)
}

// evaluate returns the mean cross-entropy and the fraction right on the test split, which the ranks share out, with
// the merged weights W.
func (t *Trainer) evaluate() (loss, top1 float64, err error) {
	t.model.UseMerged()
	sums := make([]float64, 3) // loss, right, images
	err = data.EachBatch(t.set, t.set.Test, t.config.Train.EvalBatch, t.group.Rank(), t.group.Size(), func(b *data.Batch) error {
		l, right := model.CrossEntropy(nil, t.model.Forward(b.Images).Data, b.Labels, 0)
		sums[0], sums[1], sums[2] = sums[0]+l, sums[1]+float64(right), sums[2]+float64(len(b.Labels))
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	if err := collective.Sum(t.group, sums); err != nil {
		return 0, 0, err
	}
	return sums[0] / sums[2], sums[1] / sums[2], nil
}

func (t *Trainer) summary() Summary {
	c, size := t.config, t.group.Size()
	weights, _ := t.model.Flat()
	s := Summary{Method: c.Method, Model: ModelName(c.Model), Dataset: t.set.Name, Ranks: size, Steps: t.step,
		Merges: t.method.merges(), Images: t.last.Images, Seconds: t.last.Seconds,
		ImagesPerSecond: float64(t.last.Images) / t.last.Seconds,
		TestTop1:        *t.last.TestTop1, TestLoss: *t.last.TestLoss, TrainLoss: t.last.TrainLoss,
		BytesSentPerRank: t.last.BytesSent,
		DDPBytesPerRank:  int64(t.step) * collective.AllreduceBytes(int64(len(weights)), size),
		WeightsDigest:    t.digest(), Parameters: int64(len(weights)), Trained: int64(t.Trained()),
		Seed: c.Seed, Backend: t.backend.Name()}
	if c.Method == "lte" {
		s.Heads, s.LoRARank, s.LoRAAlpha, s.MergeEvery = size, c.LTE.Rank, c.LTE.Alpha, c.LTE.MergeEvery
	}
	return s
}

// digest is over all parameters' bits, in order.
func (t *Trainer) digest() string {
	var all []float32
	for _, p := range t.model.Parameters() {
		all = append(all, p.Value...)
	}
	return fmt.Sprintf("%016x", collective.Digest(all))
}

// ModelName is the preset's, or "vit-WIDTHxDEPTH/PATCH".
func ModelName(m config.Model) string {
	if m.Preset != "" {
		return m.Preset
	}
	return fmt.Sprintf("vit-%dx%d/%d", m.Width, m.Depth, m.Patch)
}
