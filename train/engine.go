package train

import (
	"fmt"
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/merge"
	"lte/model"
	"lte/nn"
	"lte/random"
	"lte/task"
)

// engine is what computes: a model, what trains of it on this rank, and the method by which ranks train together.
type engine struct {
	config    config.Config
	meter     *collective.Meter
	set       *data.Set
	backend   compute.Backend
	model     *model.Model
	task      task.Task
	algorithm algorithm
	workers   []*worker
	fused     *fusedPass // nil: each worker has passes of its own
	average   *average   // nil: none
}

// newEngine builds the model, draws its weights, and makes the method ready. route is that of a run which is resumed, or nil.
func newEngine(c config.Config, g collective.Group, set *data.Set, be compute.Backend, route *merge.Route) (*engine, error) {
	if err := Augment(c.Data).Check(set.Channels, set.Height, set.Width); err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	m, err := model.New(shape(c, set), be, random.Stream(c.Seed, "weights")) // the same bits on every rank
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	if !c.Exchange.ShareMemory {
		g = collective.WithoutSharedMemory(g)
	}
	meter := collective.NewMeter(g)
	if c.SharesWeights() && g.Size() > 1 {
		if err := shareStorage(weightsGroup(c, meter), m); err != nil {
			return nil, fmt.Errorf("memory for W: %w", err)
		}
	}
	a, err := newAlgorithm(c, meter, be, m, route)
	if err != nil {
		return nil, err
	}
	e := &engine{config: c, meter: meter, set: set, backend: be, model: m, algorithm: a, workers: a.workers(),
		task: task.Classification{LabelSmoothing: c.Train.LabelSmoothing}}
	if all := e.allWorkers(); c.Data.Share == "shard" && set.Train.Len() < all {
		return nil, &config.Error{Keys: []string{"data.share"}, Problem: fmt.Sprintf(
			"data.share = \"shard\": %d training images are too few for %d shards; set data.share = \"split\"", set.Train.Len(), all)}
	}
	if e.fused = newFusedPass(c, e.workers); e.fused != nil {
		m.Reserve(max(len(e.workers)*perPass(c), c.Train.EvalBatch))
	}
	if c.EMA.Decay > 0 {
		if e.average, err = newAverage(c.EMA.Decay, m, weightsGroup(c, meter)); err != nil {
			return nil, err
		}
		e.average.pending = c.Exchange.Overlap
	}
	return e, nil
}

// weightsGroup is the group whose ranks on a node share W; without shared memory where they do not.
func weightsGroup(c config.Config, m *collective.Meter) collective.Group {
	g := m.For(collective.Control)
	if !c.SharesWeights() {
		g = collective.WithoutSharedMemory(g)
	}
	return g
}

// shareStorage moves the model's parameters, which are the same on all ranks, to memory that the ranks of a node share.
func shareStorage(g collective.Group, m *model.Model) error {
	storage, err := collective.AllocatorOf(g).Shared(m.StorageBytes())
	if err != nil {
		return err
	}
	from, to := collective.Part(g, len(storage))
	copy(storage[from:to], m.Storage()[from:to])
	m.SetStorage(storage)
	return g.NodeBarrier()
}

// shape is the configured model, for images of that set.
func shape(c config.Config, set *data.Set) model.Config {
	return model.Config{ImageHeight: set.Height, ImageWidth: set.Width, Channels: set.Channels, Classes: set.Classes,
		Kind: c.Model.Kind, Patch: c.Model.Patch, Depth: c.Model.Depth, Width: c.Model.Width, MLP: c.Model.MLP,
		Heads: c.Model.Heads, TokenMLP: c.Model.TokenMLP, Positions: c.Model.Positions, NormAffine: c.Model.NormAffine,
		Dropout: c.Model.Dropout, DropPath: c.Model.DropPath, Batch: max(perPass(c), c.Train.EvalBatch)}
}

// perPass is the images of a training pass of one worker.
func perPass(c config.Config) int { return c.Train.Batch / c.Train.Accumulate }

// allWorkers is the number of workers on all ranks.
func (e *engine) allWorkers() int { return len(e.workers) * e.meter.Size() }

// Model returns the model; its main weights are those of the last merge.
func (e *engine) Model() *model.Model { return e.model }

// Trained is the number of values that the optimizers of this rank update.
func (e *engine) Trained() (n int) {
	for _, w := range e.workers {
		n += w.trained()
	}
	return n
}

// Average returns the parameters with the moving average of W in place of W; nil if the run has none.
func (e *engine) Average() []model.Parameter {
	if e.average == nil {
		return nil
	}
	return e.model.With(e.average.values)
}

// withAverage calls f while the model's weights are the moving average, if the run has one.
func (e *engine) withAverage(f func() error) error {
	if e.average == nil {
		return nil
	}
	if err := e.average.swap(e.model.Flat()); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return e.average.swap(e.model.Flat())
}

func (e *engine) finiteWeights() bool {
	sum, scratch := 0.0, []float32(nil)
	for _, p := range e.model.Parameters() {
		sum += e.backend.SumSquares(p.Value.Read(0, p.Value.Rows, &scratch).Data)
	}
	return finite(sum)
}

// rate is the learning rate of a step, counting from 0.
func (e *engine) rate(step int) float64 {
	return learningRate(e.config.Optimizer.LR, e.config.Schedule, step, e.config.Train.Steps)
}

// localStep is a forward and backward pass of every worker of this rank over its mini-batch, and one update by its optimizer; steps count
// from 0. Unless ok, the loss or the gradient of a worker is not finite, and neither it nor those after it were updated.
func (e *engine) localStep(step int, batch *data.Batch) (loss float64, ok bool, err error) {
	rate := e.rate(step)
	e.mix(step, batch)
	for _, w := range e.workers {
		w.noise.begin(e.config.Seed, step, w.number)
	}
	if e.fused != nil {
		e.model.ZeroGrad()
		loss = e.pass(batch, e.fused.heads, e.fused.masks) / float64(len(batch.Labels))
	}
	for i, w := range e.workers {
		if e.fused == nil {
			mean := e.gradients(w, e.share(batch, i))
			loss += mean / float64(len(e.workers))
		}
		if loss, err = e.algorithm.exchange(step+1, loss); err != nil {
			return loss, false, err
		}
		norm := w.norm(e.backend)
		if !finite(loss) || !finite(norm) {
			return loss, false, nil
		}
		w.update(rate, norm, e.config.Optimizer.ClipNorm)
	}
	return loss, true, nil
}

// merge ends the interval of k steps that ends with step, in lockstep on all ranks.
func (e *engine) merge(step, k int, status merge.Status) (merged, error) {
	m, err := e.algorithm.merge(step, k, status)
	if err != nil || m.steps == 0 {
		return merged{loss: math.NaN()}, err
	}
	if e.average != nil {
		err = e.average.add(e.model.Flat(), m.steps)
	}
	return m, err
}

// fusedPass is one pass over the mini-batches of all workers, which shares the products with W.
type fusedPass struct {
	heads []*lora.Head
	masks []*nn.Noise
}

// newFusedPass returns nil unless passes through the factors are the cheaper way for all layers.
func newFusedPass(c config.Config, workers []*worker) *fusedPass {
	if len(workers) == 1 || c.Train.Accumulate > 1 || c.Data.Share == "same" {
		return nil
	}
	all := &fusedPass{}
	for _, w := range workers {
		if len(w.heads) == 0 || w.replicas != nil || !w.heads[0].Factored() {
			return nil
		}
		all.heads, all.masks = append(all.heads, w.heads...), append(all.masks, w.noise.masks...)
	}
	return all
}

// share is the mini-batch of the rank's i-th worker.
func (e *engine) share(batch *data.Batch, i int) *data.Batch {
	if e.config.Data.Share == "same" || len(e.workers) == 1 {
		return batch
	}
	return cut(batch, i, len(e.workers))
}

// mix mixes every mini-batch of the batch by a stream of its own, which does not depend on the rank.
func (e *engine) mix(step int, batch *data.Batch) {
	d := e.config.Data
	m := data.Mix{Mixup: d.Mixup, CutMix: d.CutMix, Probability: d.MixProb}
	if m.None() {
		return
	}
	n := e.config.Train.Batch
	for i := range len(batch.Labels) / n {
		number := e.workers[i].number
		if d.Share == "same" {
			number = 0
		}
		batch.Mix(m, e.set, i*n, (i+1)*n, random.Stream(e.config.Seed, "mix", uint64(step), uint64(number)))
	}
}

// gradients forms the gradient of the mean loss over a worker's mini-batch, in as many passes as configured; it returns that loss.
func (e *engine) gradients(w *worker, batch *data.Batch) (loss float64) {
	w.replicas.load()
	e.model.ZeroGrad()
	passes := e.config.Train.Accumulate
	for i := range passes {
		part := batch
		if passes > 1 {
			part = cut(batch, i, passes)
		}
		loss += e.pass(part, w.heads, w.noise.masks)
	}
	return loss / float64(len(batch.Labels))
}

// pass is a forward and a backward pass of heads, each over an equal share of the images; it returns the sum of the losses.
func (e *engine) pass(batch *data.Batch, heads []*lora.Head, masks []*nn.Noise) float64 {
	e.model.UseLocal(heads...)
	logits := e.model.ForwardTraining(batch.Images, masks...)
	dlogits := logits // the logits are not needed again
	loss := e.task.Loss(dlogits, logits, batch, e.config.Train.Batch)
	e.model.Backward(dlogits)
	return loss
}
