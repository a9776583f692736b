package model

import "math"

// CrossEntropy returns the sum over the batch of −Σ_c q_c·log softmax(logits)_c, where q mixes the label's one-hot
// with the uniform distribution: q = (1 − smoothing)·onehot + smoothing/classes (torch's label_smoothing); and the
// number of images whose largest logit is the label. Into dlogits, unless nil, goes the gradient of the mean over the
// batch: (softmax − q)/batch. logits and dlogits are (batch, classes).
func CrossEntropy(dlogits, logits []float32, labels []int, smoothing float64) (loss float64, right int) {
	if len(labels) == 0 {
		return 0, 0
	}
	classes := len(logits) / len(labels)
	for i, label := range labels {
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
		loss += logSum - (1-smoothing)*float64(row[label]) - smoothing/float64(classes)*total
		if best == label {
			right++
		}
		if dlogits == nil {
			continue
		}
		for c, z := range row {
			q := smoothing / float64(classes)
			if c == label {
				q += 1 - smoothing
			}
			dlogits[i*classes+c] = float32((math.Exp(float64(z)-logSum) - q) / float64(len(labels)))
		}
	}
	return loss, right
}
