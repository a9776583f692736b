package train

import (
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/nn"
	"lte/random"
)

// crew is workers as one pass takes them.
type crew struct {
	heads []*lora.Head
	masks []*nn.Noise
}

// together returns the workers whose mini-batches lie in one batch as one pass takes them, if passes through the factors
// are the cheaper way for all layers: the products with W are then shared.
func together(c config.Config, workers []*worker) *crew {
	if len(workers) == 1 || c.Train.Accumulate > 1 || c.Data.Share == "same" {
		return nil
	}
	all := &crew{}
	for _, w := range workers {
		if len(w.heads) == 0 || w.replicas != nil || !w.heads[0].Factored() {
			return nil
		}
		all.heads, all.masks = append(all.heads, w.heads...), append(all.masks, w.noise.masks...)
	}
	return all
}

// LocalStep is a forward and backward pass of every worker of this rank over its mini-batch, and one move of its
// optimizer. Unless ok, the loss or the gradient of a worker is not finite, and neither it nor those after it moved.
func (t *Trainer) LocalStep(batch *data.Batch) (loss float64, ok bool, err error) {
	t.lr = learningRate(t.config.Optimizer.LR, t.config.Schedule, t.step, t.config.Train.Steps)
	t.mix(batch)
	for _, w := range t.workers {
		w.noise.begin(t.config.Seed, t.step, w.number)
	}
	if t.together != nil {
		t.model.ZeroGrad()
		loss = t.pass(batch, t.together.heads, t.together.masks) / float64(len(batch.Labels))
	}
	for i, w := range t.workers {
		if t.together == nil {
			mean := t.gradients(w, t.share(batch, i))
			loss += mean / float64(len(t.workers))
		}
		if loss, err = t.method.exchange(t.step+1, loss); err != nil {
			return loss, false, err
		}
		norm := w.norm(t.backend)
		if !finite(loss) || !finite(norm) {
			return loss, false, nil
		}
		w.move(t.lr, norm, t.config.Optimizer.ClipNorm)
	}
	return loss, true, nil
}

// share is the mini-batch of the rank's i-th worker.
func (t *Trainer) share(batch *data.Batch, i int) *data.Batch {
	if t.config.Data.Share == "same" || len(t.workers) == 1 {
		return batch
	}
	return cut(batch, i, len(t.workers))
}

// mix mixes every mini-batch of the batch by a stream of its own, which does not know on which rank it is.
func (t *Trainer) mix(batch *data.Batch) {
	d := t.config.Data
	m := data.Mix{Mixup: d.Mixup, CutMix: d.CutMix, Probability: d.MixProb}
	if m.None() {
		return
	}
	n := t.config.Train.Batch
	for i := range len(batch.Labels) / n {
		number := t.workers[i].number
		if d.Share == "same" {
			number = 0
		}
		batch.Mix(m, t.set, i*n, (i+1)*n, random.Stream(t.config.Seed, "mix", uint64(t.step), uint64(number)))
	}
}

// gradients forms the gradient of the mean loss over a worker's mini-batch, in as many passes as configured; it returns
// that loss.
func (t *Trainer) gradients(w *worker, batch *data.Batch) (loss float64) {
	w.replicas.load()
	t.model.ZeroGrad()
	passes := t.config.Train.Accumulate
	for i := range passes {
		part := batch
		if passes > 1 {
			part = cut(batch, i, passes)
		}
		loss += t.pass(part, w.heads, w.noise.masks)
	}
	return loss / float64(len(batch.Labels))
}

// pass is a forward and a backward pass of heads, each over an equal share of the images; it returns the sum of the
// losses.
func (t *Trainer) pass(batch *data.Batch, heads []*lora.Head, masks []*nn.Noise) float64 {
	t.model.UseLocal(heads...)
	logits := t.model.ForwardTraining(batch.Images, masks...)
	dlogits := logits // the logits are not needed again
	loss := t.task.Loss(dlogits, logits, batch, t.config.Train.Batch)
	t.model.Backward(dlogits)
	return loss
}
