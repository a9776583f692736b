package model

import (
	"math"
	"testing"

	"lte/compute"
)

// twin computes the model's loss in float64, from the equations of Dosovitskiy et al. (arXiv 2010.11929, eq. 1 to 4),
// Vaswani et al. (arXiv 1706.03762, eq. 1) and algorithm.md, one image and one number at a time.
type twin struct {
	c       Config
	p       map[string][]float64  // by torchvision's name
	factors map[string]*[4]factor // A, B, A', B' by layer; nil: no head
	scale   float64
}

type factor []float64

func newTwin(v *ViT, h *Head) *twin {
	w := &twin{c: v.config, p: map[string][]float64{}}
	for _, p := range v.Parameters() {
		w.p[p.Name] = wide(p.Value)
	}
	if h != nil {
		w.factors, w.scale = map[string]*[4]factor{}, float64(h.Scale)
		for _, l := range v.Layers() {
			a := l.Adapter()
			w.factors[l.Name] = &[4]factor{wide(a.A.Data), wide(a.B.Data), wide(a.MergedA.Data), wide(a.MergedB.Data)}
		}
	}
	return w
}

// linear is W_k x + b with W_k = W − s·B'A' + s·BA.
func (w *twin) linear(layer, separator string, x []float64) []float64 {
	weight, bias := w.p[layer+separator+"weight"], w.p[layer+separator+"bias"]
	y, n := make([]float64, len(bias)), len(x)
	low := func(a, b factor, s float64) {
		r := len(a) / n
		for k := range r {
			ax := 0.0
			for j := range n {
				ax += a[k*n+j] * x[j]
			}
			for i := range y {
				y[i] += s * b[i*r+k] * ax
			}
		}
	}
	for i := range y {
		y[i] = bias[i]
		for j := range n {
			y[i] += weight[i*n+j] * x[j]
		}
	}
	if f := w.factors[layer]; f != nil {
		low(f[0], f[1], w.scale)
		low(f[2], f[3], -w.scale)
	}
	return y
}

func (w *twin) norm(name string, x []float64) []float64 {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = (v - mean) / math.Sqrt(variance+1e-6)
		if w.c.NormAffine {
			y[i] = y[i]*w.p[name+".weight"][i] + w.p[name+".bias"][i]
		}
	}
	return y
}

func plus(x, y []float64) []float64 {
	z := make([]float64, len(x))
	for i := range x {
		z[i] = x[i] + y[i]
	}
	return z
}

// attention is multi-head softmax(QKᵀ/√d)V for one image's rows of q, k and v, side by side.
func (w *twin) attention(qkv [][]float64) [][]float64 {
	d := w.c.Width / w.c.Heads
	out := make([][]float64, len(qkv))
	for i := range qkv {
		out[i] = make([]float64, w.c.Width)
		for head := range w.c.Heads {
			q := qkv[i][head*d:][:d]
			weights, sum := make([]float64, len(qkv)), 0.0
			for j := range qkv {
				k, dot := qkv[j][w.c.Width+head*d:][:d], 0.0
				for e := range d {
					dot += q[e] * k[e]
				}
				weights[j] = math.Exp(dot / math.Sqrt(float64(d)))
				sum += weights[j]
			}
			for j := range qkv {
				for e := range d {
					out[i][head*d+e] += weights[j] / sum * qkv[j][2*w.c.Width+head*d+e]
				}
			}
		}
	}
	return out
}

// logits of one image (channels, height, width).
func (w *twin) logits(image []float64) []float64 {
	c := w.c
	position := func(token int) []float64 { return w.p["encoder.pos_embedding"][token*c.Width:][:c.Width] }
	z := [][]float64{plus(w.p["class_token"], position(0))}
	for row := 0; row < c.ImageHeight; row += c.Patch {
		for column := 0; column < c.ImageWidth; column += c.Patch {
			var x []float64
			for channel := range c.Channels {
				for i := range c.Patch {
					for j := range c.Patch {
						x = append(x, image[channel*c.ImageHeight*c.ImageWidth+(row+i)*c.ImageWidth+column+j])
					}
				}
			}
			z = append(z, plus(w.linear("conv_proj", ".", x), position(len(z))))
		}
	}
	for block := range c.Depth {
		at := "encoder.layers.encoder_layer_" + string(rune('0'+block)) + "."
		qkv := make([][]float64, len(z))
		for i := range z {
			qkv[i] = w.linear(at+"self_attention.in_proj", "_", w.norm(at+"ln_1", z[i]))
		}
		for i, a := range w.attention(qkv) {
			z[i] = plus(z[i], w.linear(at+"self_attention.out_proj", ".", a))
			hidden := w.linear(at+"mlp.0", ".", w.norm(at+"ln_2", z[i]))
			for j, x := range hidden {
				hidden[j] = x * 0.5 * math.Erfc(-x/math.Sqrt2)
			}
			z[i] = plus(z[i], w.linear(at+"mlp.3", ".", hidden))
		}
	}
	return w.linear("heads.head", ".", w.norm("encoder.ln", z[0]))
}

// entropy is −Σ_c q_c·log p_c of one row of logits, with log p_c = −log Σ_j exp(z_j − z_c).
func entropy(z []float64, label int, smoothing float64) float64 {
	loss := 0.0
	for c := range z {
		sum, q := 0.0, smoothing/float64(len(z))
		for j := range z {
			sum += math.Exp(z[j] - z[c])
		}
		if c == label {
			q += 1 - smoothing
		}
		loss += q * math.Log(sum)
	}
	return loss
}

// loss is the mean over the batch.
func (w *twin) loss(images []float64, labels []int, smoothing float64) float64 {
	loss, size := 0.0, len(images)/len(labels)
	for i, label := range labels {
		loss += entropy(w.logits(images[i*size:][:size]), label, smoothing) / float64(len(labels))
	}
	return loss
}

// differences are the central difference quotients of f by every number of x.
func differences(x []float64, h float64, f func() float64) []float64 {
	d := make([]float64, len(x))
	for i, was := range x {
		x[i] = was + h
		up := f()
		x[i] = was - h
		d[i] = (up - f()) / (2 * h)
		x[i] = was
	}
	return d
}

// Fails when a backward pass is not the derivative of the forward pass that the papers define: by every parameter, and
// by every number of A and B where A' and B' are not 0. Images are not square, so rows and columns must not mix. What
// never trains (fixed sinusoids, a LayerNorm without affine) must have no gradient.
//
// The quotients err by h²/6·f‴ ≈ 1e-10 and by 2e-16·f/h ≈ 1e-11: the tolerance is the golden tests', that of float32.
func TestBackwardIsDerivative(t *testing.T) {
	const h, smoothing = 1e-5, 0.1
	for _, test := range []struct {
		name         string
		affine, head bool
		positions    string
	}{
		{"weights", true, false, "learned"},
		{"weights, plain LayerNorm, fixed positions", false, false, "sincos"},
		{"weights and head", true, true, "learned"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := tiny()
			c.NormAffine, c.Positions = test.affine, test.positions
			images, labels := batchOf(c, 2, 5)
			want := map[string][]float64{} // the same for every back end
			wantLoss := 0.0
			backends(t, func(t *testing.T, b compute.Backend) {
				v := lively(t, c, b)
				v.TrainWeights()
				var head *Head
				if test.head {
					head = livelyHead(t, v)
					v.UseLocal()
				}
				if len(want) == 0 {
					w, x := newTwin(v, head), wide(images)
					f := func() float64 { return w.loss(x, labels, smoothing) }
					wantLoss = f()
					for name, p := range w.p {
						want[name] = differences(p, h, f)
					}
					for layer, p := range w.factors {
						want[layer+"/A"], want[layer+"/B"] = differences(p[0], h, f), differences(p[1], h, f)
					}
				}
				_, loss := step(v, images, labels, smoothing)
				near(t, "loss", []float64{loss}, []float64{wantLoss}, forwardTolerance)
				worst := 0.0
				for _, p := range v.Parameters() {
					if !trains(c, p.Name) {
						if p.Grad != nil {
							t.Errorf("%s has a gradient, but never trains", p.Name)
						}
						continue
					}
					worst = max(worst, near(t, p.Name, p.Grad, want[p.Name], gradientTolerance))
				}
				if test.head {
					for _, l := range v.Layers() {
						worst = max(worst, near(t, l.Name+"/A", l.Adapter().GradA.Data, want[l.Name+"/A"], gradientTolerance))
						worst = max(worst, near(t, l.Name+"/B", l.Adapter().GradB.Data, want[l.Name+"/B"], gradientTolerance))
					}
				}
				t.Logf("gradients stray by %.1e", worst)
			})
		})
	}
}
