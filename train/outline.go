package train

import (
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/merge"
	"lte/method"
	"lte/model"
)

// Outline describes what one rank of a run carries, without allocating it.
type Outline struct {
	Model    *model.Model      // without data
	Memory   compute.Footprint // of the model and all heads of the rank, without their factors; of passes that of one image
	Layout   *lora.Layout      // of a head, or of a stack of them; nil where all weights train
	Factors  []merge.Factor    // the layout as a merge takes it
	Workers  int               // of a rank: its heads, or one
	Replicas int               // values that train in addition to a worker's head
	Trained  int               // values that a worker trains, replicas included
	Pass     int               // images of the largest pass, evaluation's included
	Measured int               // values of W⁰ that are kept for measurements
	fused    bool              // one pass of all workers' mini-batches
}

// NewOutline describes one of so many ranks of a run of a resolved configuration, on images of the sizes of the set, of which nothing else
// is read. Errors are those of New.
func NewOutline(c config.Config, ranks int, set *data.Set) (*Outline, error) {
	if err := Augment(c.Data).Check(set.Channels, set.Height, set.Width); err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	s := shape(c, set)
	o := &Outline{Workers: 1, Pass: s.Batch}
	s.Batch = 1
	m, err := model.Allocate(s, nil, compute.Counting(compute.DType(c.Compute.DType), &o.Memory))
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	o.Model = m
	if c.Measure.Every > 0 {
		for _, l := range m.Layers() {
			if matchAny(c.Measure.Layers, l.Name) {
				o.Measured += l.W.Rows * l.W.Cols
			}
		}
	}
	if !c.Spec().HasHeads() {
		m.Train(func(string) bool { return true })
		_, o.Trained = m.Sizes()
		return o, nil
	}
	if c.Spec().Trains == method.OwnHeads {
		o.Workers = c.LoRA.Heads / ranks
	}
	var trained []model.Parameter
	if o.Layout, trained, _, err = layOut(c, m, stackOf(c), baseOf(c, o.Workers)); err != nil {
		return nil, err
	}
	for _, p := range trained {
		o.Replicas += p.Len()
	}
	o.Factors, o.Trained = merge.FactorsOf(o.Layout), o.Layout.Length+o.Replicas
	head := o.Layout.AllocateHead(nil)
	if o.Workers > 1 { // heads share scratch: every further one allocates what the second does
		training := &o.Memory[compute.TrainingMemory]
		first := *training
		o.Layout.AllocateHead(nil)
		*training += float64(o.Workers-2) * (*training - first)
	}
	if o.Workers > 1 && c.Train.Accumulate == 1 && c.Data.Share != "same" && o.Replicas == 0 && head.Factored() { // see newFusedPass
		o.fused = true
		o.Pass = max(o.Workers*perPass(c), c.Train.EvalBatch)
	}
	return o, nil
}

// Passes is the number of training passes of a rank in a step on a batch of so many images, and the number of images of each.
func (o *Outline) Passes(c config.Config, batch int) (passes, images int) {
	passes, images = c.Train.Accumulate, batch/c.Train.Accumulate
	switch {
	case o.fused:
	case c.Data.Share == "same":
		passes *= o.Workers
	default:
		passes, images = passes*o.Workers, images/o.Workers
	}
	return passes, max(images, 1)
}
