package task

import (
	"slices"
	"testing"

	"lte/data"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// Fails if training leaves out a mixed image's second label or smoothing, if evaluation takes smoothing in, or if batches of an
// evaluation do not add up.
func TestClassificationIsCrossEntropy(t *testing.T) {
	logits := blas32.General{Rows: 2, Cols: 3, Stride: 3, Data: []float32{1, 2, -1, 0.5, 0, 3}}
	mixed := &data.Batch{Labels: []int{1, 0}, Others: []int{2, 2}, Lambda: []float32{0.75, 0.5}}
	var task Task = Classification{LabelSmoothing: 0.1}

	want, got := make([]float32, 6), blas32.General{Rows: 2, Cols: 3, Stride: 3, Data: make([]float32, 6)}
	wantLoss, _ := nn.CrossEntropy(want, logits.Data, nn.Targets{Labels: mixed.Labels, Others: mixed.Others, Lambda: mixed.Lambda, Smoothing: 0.1}, 5)
	if loss := task.Loss(got, logits, mixed, 5); loss != wantLoss || !slices.Equal(got.Data, want) {
		t.Errorf("loss %v, gradient %v; want %v, %v", loss, got.Data, wantLoss, want)
	}

	plain := &data.Batch{Labels: mixed.Labels}
	one, right := nn.CrossEntropy(nil, logits.Data, nn.Targets{Labels: plain.Labels}, 2)
	var score Score
	task.Score(&score, logits, plain)
	task.Score(&score, logits, plain)
	if want := (Score{2 * one, 2 * float64(right), 4}); right != 1 || score != want {
		t.Errorf("score %+v, want %+v", score, want)
	}
	if n := testing.AllocsPerRun(10, func() { task.Loss(got, logits, mixed, 5); task.Score(&score, logits, plain) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
