package train

import (
	"errors"
	"fmt"
	"strings"

	"lte/checkpoint"
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/merge"
	"lte/method"
)

// An elastic resume goes on with another number of ranks, or of lte's heads N. All that is a head's goes by the head's number to
// the rank that carries it now; what all hold alike stays.
//
// Heads that are added begin as all did: A drawn, B = 0, no moments. Of heads that are retired what they brought to W stays in
// it, and what they have learned since is dropped. W itself does not move. Without resets it is formed of another W⁰ from then on,
//
//	W⁰ ← W − (s/N')·Σ_{k < min(N, N')} B'_k A'_k
//
// with the new number N' (merge.combine = "sum": 1 in place of N'), so that the next merge, W ← W⁰ + (s/N')·Σ_k B_k A_k, adds to W
// what heads have learned since the last one, and nothing else. s stays, and with it what a head computes with,
// W − s·B'_k A'_k + s·B_k A_k. b⁰ likewise. With resets W is not formed of anything that is kept.

// Elastic says, a line each, what a resume on so many ranks changes of heads and ranks, nothing where it is none. A *config.Error says
// what cannot be.
func (s Saved) Elastic(c config.Config, ranks int) (said []string, err error) {
	about, err := s.About()
	if err != nil {
		return nil, err
	}
	was, is, spec := about.Heads, heldHeads(c), c.Spec()
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
		return refuse("lora.heads", "lora.heads = %d, and the checkpoint has %d: only those of method lte are added or retired; leave it", c.LoRA.Heads, was)
	case was != is && c.Data.Share == "shard":
		return refuse("lora.heads", "lora.heads = %d, and the checkpoint has %d: with data.share = %q each has its own part of the images; leave it", is, was, c.Data.Share)
	case s.Manifest.Ranks != ranks && spec.Merges == method.Weights:
		return refuse("method", "the checkpoint is of %d ranks, not %d, and with method = %q each has trained alone, with moments of its own: start as many", s.Manifest.Ranks, ranks, c.Method)
	case s.Manifest.Ranks != ranks && spec.Trains != method.OwnHeads && c.Data.Share == "shard":
		return refuse("data.share", "the checkpoint is of %d ranks, not %d, and with data.share = %q each has its own part of the images: start as many", s.Manifest.Ranks, ranks, c.Data.Share)
	case saw != sees:
		return refuse("train.batch", "train.batch = %d on %d ranks: %s would see %d images, and it saw %d until the checkpoint; set train.batch so that it sees as many", c.Train.Batch, ranks, step, sees, saw)
	case elastic && c.Exchange.Wire != "fp32" && about.Route != nil && about.Route.sums():
		return refuse("exchange.wire", "with exchange.wire = %q ranks still owe what rounding took of the sums that they sent, each of its own: start %d ranks with lora.heads = %d", c.Exchange.Wire, s.Manifest.Ranks, was)
	}
	if s.Manifest.Ranks != ranks {
		said = append(said, fmt.Sprintf("%d ranks, not %d: what they carry is dealt out anew", ranks, s.Manifest.Ranks))
	}
	if n := is - was; n > 0 {
		said = append(said, fmt.Sprintf("heads %d to %d are added: A is drawn, B = 0, no moments; W stays as it is", was, is-1))
	} else if n < 0 {
		said = append(said, fmt.Sprintf("heads %d to %d are retired: what they brought to W stays in it, what they have learned since the last merge is dropped", is, was-1))
	}
	return said, nil
}

// heldHeads is how many heads ranks carry each its own of; 0 for the methods whose ranks all have the same.
func heldHeads(c config.Config) int {
	if c.Spec().SeveralHeads() {
		return c.LoRA.Heads
	}
	return 0
}

// sums says whether some layers' sums travel in place of heads.
func (r Route) sums() bool {
	return len(r.Transports[merge.Dense.String()])+len(r.Transports[merge.Rows.String()]) > 0
}

// redeal restores the state from a checkpoint of other ranks or heads.
func (t *Trainer) redeal(s Saved, was About) error {
	state, group := t.state(), t.meter.For(collective.Control)
	d := deal{Saved: s, heads: was.Heads, rank: group.Rank(), ranks: group.Size()}
	d.lte, _ = t.method.(*lte)
	all := func(err error) error { return errors.Join(collective.Agree(group, err), group.NodeBarrier()) }
	if err := all(d.restoreShared(state.shared)); err != nil {
		return err
	}
	lost := []float64{0} // losses of the ranks that were, of the interval that has begun
	err := d.restoreOwn(state.own)
	if err == nil && t.under.done > 0 {
		lost[0], err = d.losses()
	}
	if err := all(err); err != nil {
		return err
	}
	if err := collective.Sum(group, lost); err != nil {
		return err
	}
	t.under.status.Loss = lost[0] / float64(s.Manifest.Ranks)
	t.shift += t.step * (was.ImagesPerStep - imagesPerStep(t.config, group.Size()))
	if d.lte == nil || d.lte.config.LoRA.Heads <= was.Heads {
		return nil
	}
	return d.lte.add(was.Heads)
}

// deal is what a rank takes over from a checkpoint of other ranks or heads.
type deal struct {
	Saved
	*lte            // nil: ranks carry no heads of their own
	heads       int // of the checkpoint, where lte
	rank, ranks int // of now
}

// added says whether a tensor is of a head, or of a rank, that the checkpoint has not.
func (d *deal) added(name string) bool {
	if d.lte == nil {
		return false
	}
	if k, ok := merge.HeadOf(name); ok {
		return k >= d.heads
	}
	var k int
	if n, _ := fmt.Sscanf(name, "head.%d.", &k); n == 1 {
		return k >= d.heads
	}
	return strings.HasPrefix(name, flightOf)
}

// whole says what of the wanted tensors was found nowhere.
func (d *deal) whole(left []checkpoint.Tensor) error {
	for _, t := range left {
		if !d.added(t.Name) {
			return fmt.Errorf("the checkpoint has no tensor %q, which rank %d needs", t.Name, d.rank)
		}
	}
	return nil
}

// restoreShared restores what all ranks hold alike. Of factors under way every rank gets the mean loss.
func (d *deal) restoreShared(wanted tensors) error {
	left, err := d.Shared.Take(wanted)
	if err = errors.Join(err, d.whole(left)); err != nil || d.lte == nil || !d.config.Exchange.Overlap {
		return err
	}
	was := make([]merge.Status, d.Manifest.Ranks)
	var all tensors
	all.statuses(was)
	if _, err = d.Shared.Take(all); err != nil {
		return err
	}
	now, mean := d.arrived.statuses, meanLoss(was)
	for rank := range now {
		now[rank] = merge.Status{Loss: mean}
	}
	return nil
}

// restoreOwn restores what is this rank's: counts, of the rank in its place, and its heads, from those that carried them. Where the
// number of heads is another, W⁰ becomes what W is without the heads that go on.
func (d *deal) restoreOwn(wanted tensors) error {
	left, place := []checkpoint.Tensor(wanted), d.rank%d.Manifest.Ranks
	again := d.lte != nil && d.heads != d.config.LoRA.Heads && d.origins != nil
	if again {
		d.originate()
	}
	for i := range d.Manifest.Ranks {
		rank := (place + i) % d.Manifest.Ranks
		first, end := d.carried(rank)
		if mine := d.lte != nil && first < d.first+len(d.crew) && d.first < end; i > 0 && !mine && !(again && first < end) {
			continue
		}
		part, err := d.Of(rank)
		if err != nil {
			return err
		}
		if left, err = part.Take(left); err != nil {
			return err
		}
		if !again {
			continue
		}
		var merged [][]float32
		var of tensors // all at once: a part that is compressed is read from its beginning
		for k := first; k < end; k++ {
			merged = append(merged, make([]float32, d.layout.Length))
			of.floats(headName(k)+".merged", merged[k-first])
		}
		if _, err := part.Take(of); err != nil {
			return err
		}
		for _, flat := range merged {
			d.unmerge(flat)
		}
	}
	return d.whole(left)
}

// carried are the heads first to end-1 of a rank of the checkpoint that go on; none where ranks carry none of their own.
func (d *deal) carried(rank int) (first, end int) {
	if d.lte == nil {
		return 0, 0
	}
	each := d.heads / d.Manifest.Ranks
	return rank * each, min(rank*each+each, d.config.LoRA.Heads)
}

// losses is the sum of the losses of this rank's share of the ranks that were.
func (d *deal) losses() (sum float64, err error) {
	for rank := d.rank; rank < d.Manifest.Ranks; rank += d.ranks {
		part, err := d.Of(rank)
		if err != nil {
			return 0, err
		}
		var loss float64
		if _, err := part.Take([]checkpoint.Tensor{checkpoint.Real(intervalLoss, &loss)}); err != nil {
			return 0, err
		}
		sum += loss
	}
	return sum, nil
}

// originate makes W⁰ what W is, and b⁰: each sharer its rows.
func (l *lte) originate() {
	for i, p := range l.layout.Layers {
		in := p.Layer.W.Cols
		first, end := collective.Part(l.sharers, p.Layer.W.Rows)
		copy(l.origins[i].w[first*in:end*in], p.Layer.W.Data[first*in:end*in])
		if o := l.origins[i]; o.b != nil {
			copy(o.b, p.Layer.B)
		}
	}
}

// unmerge takes from W⁰, and b⁰, what a head's merged factors add to W: each sharer from its rows.
func (l *lte) unmerge(merged []float32) {
	for i, p := range l.layout.Layers {
		f, o := p.Factors(merged), l.origins[i]
		in, r := p.Layer.W.Cols, p.Rank
		first, end := collective.Part(l.sharers, p.Layer.W.Rows)
		w := compute.Matrix(end-first, in, o.w[first*in:end*in])
		l.backend.AddProduct(compute.F32(w), w, -p.Scale*l.share, compute.Matrix(end-first, r, f.B.Data[first*r:end*r]), f.A)
		if o.b != nil {
			f.AddBias(o.b, -p.Scale*l.share)
		}
	}
}

// add makes the heads from number from on what heads are that begin, here and in what all ranks hold of them.
func (l *lte) add(from int) error {
	begin := func(k int, flat []float32) {
		if k < from {
			return
		}
		l.layout.DrawA(flat, l.streams("head", k, 1)...)
		l.layout.ResetB(flat)
		if l.done.merges > 0 && l.config.Merge.Reset != "none" {
			l.reset(flat, k, l.done.merges)
		}
	}
	for _, w := range l.crew {
		if w.number < from {
			continue
		}
		begin(w.number, w.heads[0].Value)
		copy(w.heads[0].Merged, w.heads[0].Value)
		if w.replicas != nil {
			copy(w.replicas.value, l.merged)
		}
	}
	if !l.gathering.HasEstimates() || l.wire == merge.FP32 && !l.config.Exchange.Overlap {
		return nil
	}
	if err := l.gathering.SetEstimates(begin); err != nil {
		return err
	}
	for i, w := range l.crew {
		if w.number >= from {
			copy(l.gathering.LocalEstimate(i), l.gathering.Estimate(w.number))
		}
	}
	return nil
}
