package compute

import "math"

// AttentionShape is the shape of self-attention: qkv is (Batch, Tokens, 3, Heads, Dim), out is (Batch, Tokens, Heads,
// Dim) and probs is (Batch, Heads, Tokens, ProbStride): its rows are padded. Only the first Queries tokens of an
// image are queries: out's rows of the others are not written, and dout's not read.
type AttentionShape struct{ Batch, Tokens, Queries, Heads, Dim int }

// ProbStride is the length of a padded row of attention probabilities: Tokens, rounded up to 16.
func (s AttentionShape) ProbStride() int { return (s.Tokens + 15) &^ 15 }

// Probs is the number of elements of probs.
func (s AttentionShape) Probs() int { return s.Batch * s.Heads * s.Tokens * s.ProbStride() }

// Len is the number of elements of out; qkv has three times as many.
func (s AttentionShape) Len() int { return s.Batch * s.Tokens * s.Heads * s.Dim }

func (s AttentionShape) check(out Operand, probs []float32, qkv Operand) {
	checkDense(s.Len(), out)
	checkDense(3*s.Len(), qkv)
	checkEqual(s.Probs(), probs)
	checkDType(out, qkv)
}

func (s AttentionShape) checkBackward(dqkv, dout Operand, probs []float32, qkv Operand) {
	s.check(dout, probs, qkv)
	checkDense(3*s.Len(), dqkv)
	checkDType(dqkv, qkv)
}

// ImageShape is the shape of images (Images, Channels, Height, Width) and of the square patches that they are cut into;
// Patch divides both sides.
type ImageShape struct{ Images, Channels, Height, Width, Patch int }

// Patches is the number of patches of an image.
func (s ImageShape) Patches() int { return (s.Height / s.Patch) * (s.Width / s.Patch) }

func (s ImageShape) check(dst Operand, images []float32) {
	if dst.Rows != s.Images*s.Patches() || dst.Cols != s.Channels*s.Patch*s.Patch ||
		len(images) != s.Images*s.Channels*s.Height*s.Width {
		panic(errShape)
	}
}

// AdamWStep holds the hyperparameters of step T, counting from 1, of AdamW. The gradient is multiplied by Clip.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, Decay, Clip float64 // η, β₁, β₂, ε, λ
	T                                  int     // t
}

// adamWScalars are the factors of a step, computed in float64: in float32 1 − β of a β near 1 would keep few digits.
// The kernels compute βm + (1−β)g as m + (1−β)(g − m), which tends to g whatever 1 − β is rounded to.
type adamWScalars struct {
	rest1, rest2 float32 // 1 − β₁, 1 − β₂
	rate         float32 // η/(1 − β₁ᵗ)
	root         float32 // 1/√(1 − β₂ᵗ)
	eps          float32 // ε
	decay        float32 // ηλ
	clip         float32
}

func (s AdamWStep) scalars() adamWScalars {
	t := float64(s.T)
	return adamWScalars{rest1: float32(1 - s.Beta1), rest2: float32(1 - s.Beta2), rate: float32(s.LR / (1 - math.Pow(s.Beta1, t))),
		root: float32(1 / math.Sqrt(1-math.Pow(s.Beta2, t))), eps: float32(s.Eps), decay: float32(s.LR * s.Decay), clip: float32(s.Clip)}
}

// SGDStep holds the hyperparameters of a step of SGD. The gradient is multiplied by Clip.
type SGDStep struct{ LR, Momentum, Decay, Clip float64 } // η, μ, λ

// sgdScalars are the factors of a step; rest is 1 − μ, and μ·buf + g is buf + (g − (1−μ)·buf), as in adamWScalars.
type sgdScalars struct{ rest, lr, decay, clip float32 }

func (s SGDStep) scalars() sgdScalars {
	return sgdScalars{rest: float32(1 - s.Momentum), lr: float32(s.LR), decay: float32(s.Decay), clip: float32(s.Clip)}
}
