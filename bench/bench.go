// Package bench measures the parts of a run: matrix products, a training step, a merge. Every speed stands beside a
// reference of the same process (a step beside the products' own rate), as machines are shared and their clocks vary.
package bench

import (
	"fmt"
	"slices"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/random"
	"lte/train"
)

// Options says what is measured.
type Options struct {
	Config  config.Config // method, model, lora.rank, train.batch, compute.*
	Image   int           // side of an image, pixels
	Classes int
	Threads int
	Warmup  int // rounds not counted
	Rounds  int
}

// name is of the model, as a summary names it.
func (o Options) name() string { return train.ModelName(o.Config.Model) }

// noise is images of the options' shape that hold no picture.
type noise struct{ o Options }

func (n noise) Len() int        { return n.o.Config.Train.Batch }
func (n noise) Label(i int) int { return i % n.o.Classes }
func (n noise) Picture(dst *data.Picture, i int) error {
	rng := random.Stream(n.o.Config.Seed, "noise", uint64(i))
	dst.Reset(channels, n.o.Image, n.o.Image)
	for j := range dst.Pix {
		dst.Pix[j] = uint8(rng.Uint32())
	}
	return nil
}

const channels = 3

func (o Options) set() *data.Set {
	return &data.Set{Name: "noise", Classes: o.Classes, Channels: channels, Height: o.Image, Width: o.Image,
		Mean: []float32{0.5, 0.5, 0.5}, Std: []float32{0.3, 0.3, 0.3}, Train: noise{o}, Test: noise{o}}
}

// batch is the one that all steps train on: preparing images is not what a step measures.
func (o Options) batch(set *data.Set) (batch *data.Batch, err error) {
	err = data.EachBatch(set, set.Train, o.Config.Train.Batch, 0, 1, func(b *data.Batch) error {
		batch = b
		return nil
	})
	return batch, err
}

// backend is the configured one.
func (o Options) backend() (compute.Backend, error) {
	b, err := compute.New(o.Config.Compute.Backend, o.Threads, compute.DType(o.Config.Compute.DType))
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	return b, nil
}

// trainer builds what a run of that configuration would build on this rank, with a metered back end.
func (o Options) trainer(g collective.Group) (*train.Trainer, *data.Batch, *compute.Meter, error) {
	backend, err := o.backend()
	if err != nil {
		return nil, nil, nil, err
	}
	meter := compute.NewMeter(backend)
	set := o.set()
	t, err := train.New(o.Config, g, set, meter)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := o.batch(set)
	return t, b, meter, err
}

// step makes one local step.
func step(t *train.Trainer, b *data.Batch) error {
	loss, ok, err := t.LocalStep(b)
	if err == nil && !ok {
		err = fmt.Errorf("the loss %v or its gradient is not finite", loss)
	}
	return err
}

// median sorts x.
func median(x []float64) float64 {
	slices.Sort(x)
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}
