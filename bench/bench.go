// Package bench measures the parts of a run: matrix products, a training step, a merge. Every speed is compared with a
// reference measured in the same process (a step with the rate of its products), because machines are shared and their clocks vary.
package bench

import (
	"fmt"
	"slices"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/train"
)

// Options configures a measurement.
type Options struct {
	Config  config.Config
	Image   int // side of an image, pixels
	Classes int
	Threads int
	Warmup  int // rounds not counted
	Rounds  int
}

// channels of the images.
const channels = 3

// name is the model's, as in a run's summary.
func (o Options) name() string { return train.ModelName(o.Config.Model) }

// set is a data set of synthetic images of the options' shape.
func (o Options) set() (*data.Set, error) {
	return data.Open(data.Source{Kind: "synthetic", Synthetic: data.Synthetic{Images: o.Config.Train.Batch, Classes: o.Classes,
		Channels: channels, Height: o.Image, Width: o.Image}}, 0)
}

// batch returns the batch that all steps train on: a step is measured without the preparation of images.
func (o Options) batch(set *data.Set) (batch *data.Batch, err error) {
	err = data.EachBatch(set, set.Train, o.Config.Train.Batch, 0, 1, func(b *data.Batch) error {
		batch = b
		return nil
	})
	return batch, err
}

// backend returns the configured back end.
func (o Options) backend() (compute.Backend, error) {
	b, err := compute.New(o.Config.Compute.Backend, o.Threads, compute.DType(o.Config.Compute.DType))
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	return b, nil
}

// trainer returns the trainer that a run of that configuration has on this rank, on a metered back end.
func (o Options) trainer(g collective.Group) (*train.Trainer, *data.Batch, *compute.Meter, error) {
	backend, err := o.backend()
	if err != nil {
		return nil, nil, nil, err
	}
	meter := compute.NewMeter(backend)
	set, err := o.set()
	if err != nil {
		return nil, nil, nil, err
	}
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

// median returns the median of x, which it sorts.
func median(x []float64) float64 {
	slices.Sort(x)
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}
