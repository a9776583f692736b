package train

import (
	"errors"
	"fmt"

	"lte/checkpoint"
	"lte/collective"
	"lte/config"
	"lte/merge"
	"lte/method"
)

// An elastic resume continues with another number of ranks, or of lte's heads N. What belongs to a head goes, by the head's number, to the
// rank that carries it now; what is the same on all ranks stays.
//
// Heads that are added begin as all did: A drawn, B = 0, no moments. What retired heads added to W stays in it, and what they have learned
// since is dropped. W itself does not move: see package merge. s stays, and with it what a head computes with, W − s·B'_k A'_k + s·B_k A_k.

// Elastic describes, a line each, what a resume on so many ranks changes of heads and ranks; nothing if it changes none. A *config.Error
// names what cannot be.
func (s Saved) Elastic(c config.Config, ranks int) (lines []string, err error) {
	about, err := s.About()
	if err != nil {
		return nil, err
	}
	was, is, spec := about.Heads, checkpointHeads(c), c.Spec()
	elastic := s.Manifest.Ranks != ranks || was != is
	refuse := func(key, format string, values ...any) ([]string, error) {
		return nil, &config.Error{Keys: []string{key}, Problem: fmt.Sprintf(format, values...)}
	}
	step, saw, sees := "a step", about.ImagesPerStep, imagesPerStep(c, ranks)
	if spec.Trains == method.OwnHeads && c.Data.Share != "same" {
		step, saw, sees = "a head's step", saw/max(1, was), sees/is
	}
	switch {
	case was != is && spec.Trains != method.OwnHeads:
		return refuse("lora.heads", "lora.heads = %d, and the checkpoint has %d: only heads of method lte can be added or retired; leave it", c.LoRA.Heads, was)
	case was != is && c.Data.Share == "shard":
		return refuse("lora.heads", "lora.heads = %d, and the checkpoint has %d: with data.share = %q each head has its own part of the images; leave it", is, was, c.Data.Share)
	case s.Manifest.Ranks != ranks && spec.Merges == method.Weights:
		return refuse("method", "the checkpoint is of %d ranks, not %d, and with method = %q each has trained alone, with moments of its own: start as many", s.Manifest.Ranks, ranks, c.Method)
	case s.Manifest.Ranks != ranks && spec.Trains != method.OwnHeads && c.Data.Share == "shard":
		return refuse("data.share", "the checkpoint is of %d ranks, not %d, and with data.share = %q each has its own part of the images: start as many", s.Manifest.Ranks, ranks, c.Data.Share)
	case saw != sees:
		return refuse("train.batch", "train.batch = %d on %d ranks: %s would see %d images, and it saw %d until the checkpoint; set train.batch so that it sees as many", c.Train.Batch, ranks, step, sees, saw)
	case elastic && c.Exchange.Wire != string(merge.FP32) && (c.SharesBasis() || about.Route != nil && about.Route.Sums()):
		return refuse("exchange.wire", "with exchange.wire = %q each rank has a residual of the sums that it sent, which is not divided: start %d ranks with lora.heads = %d", c.Exchange.Wire, s.Manifest.Ranks, was)
	}
	if s.Manifest.Ranks != ranks {
		lines = append(lines, fmt.Sprintf("%d ranks, not %d: heads are redistributed", ranks, s.Manifest.Ranks))
	}
	if n := is - was; n > 0 {
		lines = append(lines, fmt.Sprintf("heads %d to %d are added: A is drawn, B = 0, no moments; W stays as it is", was, is-1))
	} else if n < 0 {
		lines = append(lines, fmt.Sprintf("heads %d to %d are retired: what they added to W stays in it, what they have learned since the last merge is dropped", is, was-1))
	}
	return lines, nil
}

// checkpointHeads is the number of heads in a checkpoint of that configuration; 0 where the method has one, or none.
func checkpointHeads(c config.Config) int {
	if c.Spec().SeveralHeads() {
		return c.LoRA.Heads
	}
	return 0
}

// reshard restores the state from a checkpoint of another number of ranks or heads.
func (t *Trainer) reshard(s Saved, was About) error {
	state, group := t.state(), t.meter.For(collective.Control)
	r := resharding{Saved: s, own: t.algorithm.own(), heads: was.Heads, rank: group.Rank(), ranks: group.Size()}
	all := func(err error) error { return errors.Join(collective.Agree(group, err), group.NodeBarrier()) }
	if err := all(r.restoreShared(state.Shared)); err != nil {
		return err
	}
	lost := []float64{0} // losses of the checkpoint's ranks, of the interval that has begun
	err := r.restoreOwn(state.Own)
	if err == nil && t.sinceMerge.done > 0 {
		lost[0], err = r.losses()
	}
	if err := all(err); err != nil {
		return err
	}
	if err := collective.Sum(group, lost); err != nil {
		return err
	}
	t.sinceMerge.status.Loss = lost[0] / float64(s.Manifest.Ranks)
	t.shift += t.step * (was.ImagesPerStep - imagesPerStep(t.config, group.Size()))
	if r.own == nil || r.own.config.LoRA.Heads <= was.Heads {
		return nil
	}
	return r.own.addHeads(was.Heads)
}

// resharding is what a rank restores from a checkpoint of another number of ranks or heads.
type resharding struct {
	Saved
	own         *ownHeads // nil: ranks carry no heads of their own
	heads       int       // of the checkpoint
	rank, ranks int       // of this run
}

// added reports whether a tensor belongs to a head, or a rank, that the checkpoint does not have.
func (r *resharding) added(name string) bool {
	if r.own == nil {
		return false
	}
	k, ok := merge.HeadOf(name)
	if !ok {
		n, _ := fmt.Sscanf(name, "head.%d.", &k)
		ok = n == 1
	}
	return ok && k >= r.heads || merge.IsStatus(name)
}

// complete returns an error for a wanted tensor that was found nowhere.
func (r *resharding) complete(left []checkpoint.Tensor) error {
	for _, t := range left {
		if !r.added(t.Name) {
			return fmt.Errorf("the checkpoint has no tensor %q, which rank %d needs", t.Name, r.rank)
		}
	}
	return nil
}

// restoreShared restores what is the same on all ranks. The pending exchange of factors gets the mean loss for every rank.
func (r *resharding) restoreShared(wanted checkpoint.Tensors) error {
	left, err := r.Shared.RestorePartial(wanted)
	if err = errors.Join(err, r.complete(left)); err != nil || r.own == nil || !r.own.config.Exchange.Overlap {
		return err
	}
	was := make([]merge.Status, r.Manifest.Ranks)
	var all checkpoint.Tensors
	merge.StatusState(&all, was)
	if _, err = r.Shared.RestorePartial(all); err != nil {
		return err
	}
	r.own.merger.SetStatuses(meanLoss(was))
	return nil
}

// restoreOwn restores what is this rank's: counts, from the rank in its place, and its heads, from the ranks that carried them. If the
// number of heads changes, W⁰ becomes W without the heads that continue.
func (r *resharding) restoreOwn(wanted checkpoint.Tensors) error {
	left, place := []checkpoint.Tensor(wanted), r.rank%r.Manifest.Ranks
	again := r.own != nil && r.heads != r.own.config.LoRA.Heads && r.own.merger.FormsWeights()
	if again {
		r.own.merger.OriginFromWeights()
	}
	for i := range r.Manifest.Ranks {
		rank := (place + i) % r.Manifest.Ranks
		first, end := r.carried(rank)
		if i > 0 && !r.carriesNow(first, end) && !(again && first < end) {
			continue
		}
		part, err := r.Of(rank)
		if err != nil {
			return err
		}
		if left, err = part.RestorePartial(left); err != nil {
			return err
		}
		if again {
			if err := r.unmerge(part, first, end); err != nil {
				return err
			}
		}
	}
	return r.complete(left)
}

// carried are the heads first to end-1 of a rank of the checkpoint that continue; none where ranks carry none of their own.
func (r *resharding) carried(rank int) (first, end int) {
	if r.own == nil {
		return 0, 0
	}
	each := r.heads / r.Manifest.Ranks
	return rank * each, min(rank*each+each, r.own.config.LoRA.Heads)
}

// carriesNow reports whether this rank carries some of these heads.
func (r *resharding) carriesNow(first, end int) bool {
	return r.own != nil && first < r.own.first+len(r.own.workers) && r.own.first < end
}

// unmerge subtracts from W⁰ what heads first to end-1 in a part of the checkpoint added to W.
func (r *resharding) unmerge(part *checkpoint.Part, first, end int) error {
	var factors [][]float32
	var all checkpoint.Tensors // in one call: a compressed part is read from its beginning
	for k := first; k < end; k++ {
		factors = append(factors, make([]float32, r.own.layout.Length))
		all.Floats(headName(k)+".merged", factors[k-first])
	}
	if _, err := part.RestorePartial(all); err != nil {
		return err
	}
	for _, flat := range factors {
		r.own.merger.Unmerge(flat)
	}
	return nil
}

// losses is the sum of the losses of this rank's share of the checkpoint's ranks.
func (r *resharding) losses() (sum float64, err error) {
	for rank := r.rank; rank < r.Manifest.Ranks; rank += r.ranks {
		part, err := r.Of(rank)
		if err != nil {
			return 0, err
		}
		var loss float64
		if _, err := part.RestorePartial([]checkpoint.Tensor{checkpoint.Real(intervalLoss, &loss)}); err != nil {
			return 0, err
		}
		sum += loss
	}
	return sum, nil
}

// addHeads sets the heads from number from on to what heads begin with, here and in what all ranks hold of them.
func (o *ownHeads) addHeads(from int) error {
	for _, w := range o.workers {
		if w.number < from {
			continue
		}
		o.merger.InitialNow(w.heads[0].Value, w.number)
		copy(w.heads[0].Merged, w.heads[0].Value)
		if w.replicas != nil {
			copy(w.replicas.value, o.replicas.merged.value)
		}
	}
	return o.merger.AddHeads(from)
}
