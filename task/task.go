// Package task says what a network learns: how its outputs are compared with a batch's targets, in training by a loss and in
// evaluation by metrics. Networks are package model's, what is done with gradients train's.
package task

import (
	"lte/data"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// Task is what a network learns. Outputs (examples, outputs) are those of a batch's images.
type Task interface {
	// Loss returns the sum of the losses of a batch, a part of a mini-batch of so many examples, and sets dst to the gradient of the
	// mini-batch's mean. dst may be output.
	Loss(dst, output blas32.General, b *data.Batch, examples int) float64
	// Score adds a batch of an evaluation to sum.
	Score(sum *Score, output blas32.General, b *data.Batch)
}

// Score is an evaluation: sums over examples.
type Score struct {
	Loss     float64
	Right    float64 // examples whose largest output is the right one: top-1
	Examples float64
}

// Classification compares logits with the labels of images, in training with soft targets: two labels where images were mixed,
// and label smoothing. See nn.CrossEntropy.
type Classification struct{ LabelSmoothing float64 }

// Loss is Task's.
func (c Classification) Loss(dst, output blas32.General, b *data.Batch, examples int) float64 {
	targets := nn.Targets{Labels: b.Labels, Others: b.Others, Lambda: b.Lambda, Smoothing: c.LabelSmoothing}
	loss, _ := nn.CrossEntropy(dst.Data, output.Data, targets, examples)
	return loss
}

// Score is Task's, without smoothing.
func (Classification) Score(sum *Score, output blas32.General, b *data.Batch) {
	loss, right := nn.CrossEntropy(nil, output.Data, nn.Targets{Labels: b.Labels, Others: b.Others, Lambda: b.Lambda}, len(b.Labels))
	sum.Loss, sum.Right, sum.Examples = sum.Loss+loss, sum.Right+float64(right), sum.Examples+float64(len(b.Labels))
}
