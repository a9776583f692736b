package nn

import "math"

// Targets are what the logits of a batch are compared with: a label an image, or two where images were mixed.
type Targets struct {
	Labels    []int
	Others    []int     // the second labels; nil: labels alone
	Lambda    []float32 // where there are others: the first label's weight λ; the second's is 1 − λ
	Smoothing float64   // the share of the uniform distribution
}

// CrossEntropy returns the sum over a pass of −Σ_c q_c·log softmax(logits)_c, and the number of images whose largest
// logit is the label, the first of two. Both labels' one-hots are mixed with the uniform distribution:
//
//	q = λ·q(label) + (1 − λ)·q(other),  q(label) = (1 − smoothing)·onehot(label) + smoothing/classes
//
// as torch's label_smoothing and timm's mixup_target do (mixup: Zhang et al., arXiv 1710.09412; cutmix: Yun et al., arXiv 1905.04899).
// Into dlogits, unless nil, goes the gradient of the sum over images, the number of images of the mini-batch that this pass is a part of:
// (softmax − q)/images. The passes' gradients add up to that of the mini-batch's mean. logits and dlogits are (len(Labels), classes).
func CrossEntropy(dlogits, logits []float32, t Targets, images int) (loss float64, right int) {
	if t.Others != nil && (len(t.Others) != len(t.Labels) || len(t.Lambda) != len(t.Labels)) {
		panic("nn: targets of unequal length")
	}
	if len(t.Labels) == 0 {
		return 0, 0
	}
	classes := len(logits) / len(t.Labels)
	uniform := t.Smoothing / float64(classes)
	for i, label := range t.Labels {
		other, lambda := label, 1.0
		if t.Others != nil {
			other, lambda = t.Others[i], float64(t.Lambda[i])
		}
		row := logits[i*classes : (i+1)*classes]
		best, sum, total := 0, 0.0, 0.0
		for c, z := range row {
			if z > row[best] {
				best = c
			}
		}
		top := float64(row[best])
		for _, z := range row {
			sum += math.Exp(float64(z) - top)
			total += float64(z)
		}
		logSum := top + math.Log(sum)
		mixed := lambda*float64(row[label]) + (1-lambda)*float64(row[other])
		loss += logSum - (1-t.Smoothing)*mixed - uniform*total
		if best == label {
			right++
		}
		if dlogits == nil {
			continue
		}
		for c, z := range row {
			q := uniform
			if c == label {
				q += (1 - t.Smoothing) * lambda
			}
			if c == other {
				q += (1 - t.Smoothing) * (1 - lambda)
			}
			dlogits[i*classes+c] = float32((math.Exp(float64(z)-logSum) - q) / float64(images))
		}
	}
	return loss, right
}
