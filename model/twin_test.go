package model

import (
	"math"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn/nntest"
)

// twin computes the model's loss in float64, from the equations of Dosovitskiy et al. (arXiv 2010.11929, eq. 1 to 4),
// Vaswani et al. (arXiv 1706.03762, eq. 1), Tolstikhin et al. (arXiv 2105.01601, eq. 1) and algorithm.md, one image and
// one number at a time.
type twin struct {
	c       Config
	masks   map[string][][]float64 // by place and image: what each number is multiplied by; nil: 1
	p       map[string][]float64   // by torchvision's name
	factors map[string]*[2]low     // head and head at the last merge, by layer; nil: no head
}

// low is s·B(Ax + b_A) + s·b_B.
type low struct {
	scale              float64
	a, b, biasA, biasB []float64
}

func newTwin(v *Model, h *lora.Head) *twin {
	w := &twin{c: v.config, p: map[string][]float64{}}
	for _, p := range v.Parameters() {
		w.p[p.Name] = nntest.Wide(p.Value.Float32())
	}
	if h != nil {
		w.factors = map[string]*[2]low{}
		for _, l := range v.Layers() {
			a := h.Adapter(l)
			of := func(f lora.Factors, s float64) low {
				return low{s, nntest.Wide(f.A.Data), nntest.Wide(f.B.Data), nntest.Wide(f.BiasA), nntest.Wide(f.BiasB)}
			}
			w.factors[l.Name] = &[2]low{of(a.Factors, float64(a.Scale)), of(a.Merged, -float64(a.Scale))}
		}
	}
	return w
}

// linear is W_k x + b with W_k = W − s·B'A' + s·BA.
func (w *twin) linear(layer, separator string, x []float64) []float64 {
	weight, bias := w.p[layer+separator+"weight"], w.p[layer+separator+"bias"]
	y, n := make([]float64, len(bias)), len(x)
	add := func(f low) {
		r := len(f.a) / n
		for k := range r {
			ax := 0.0
			if f.biasA != nil {
				ax = f.biasA[k]
			}
			for j := range n {
				ax += f.a[k*n+j] * x[j]
			}
			for i := range y {
				y[i] += f.scale * f.b[i*r+k] * ax
			}
		}
		for i, v := range f.biasB {
			y[i] += f.scale * v
		}
	}
	for i := range y {
		y[i] = bias[i]
		for j := range n {
			y[i] += weight[i*n+j] * x[j]
		}
	}
	if f := w.factors[layer]; f != nil {
		add(f[0])
		add(f[1])
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

// drop multiplies a token's numbers, or a row's, at that place by the image's mask. Numbers that no mask reaches, those of
// the last block's other tokens, are not read further on.
func (w *twin) drop(place string, image, token int, x []float64) []float64 {
	if w.masks == nil {
		return x
	}
	mask, y := w.masks[place][image], make([]float64, len(x))
	for i := range x {
		if at := token*len(x) + i; at < len(mask) {
			y[i] = x[i] * mask[at]
		}
	}
	return y
}

func gelu(x []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v * 0.5 * math.Erfc(-v/math.Sqrt2)
	}
	return y
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

// patches are the rows of one image (channels, height, width) that the embedding reads.
func (w *twin) patches(image []float64) (all [][]float64) {
	c := w.c
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
			all = append(all, x)
		}
	}
	return all
}

// logits of the batch's i-th image.
func (w *twin) logits(i int, image []float64) []float64 {
	if w.c.Kind == "mixer" {
		return w.mixerLogits(i, image)
	}
	return w.vitLogits(i, image)
}

func (w *twin) vitLogits(image int, pixels []float64) []float64 {
	c := w.c
	z := [][]float64{w.p["class_token"]}
	for _, x := range w.patches(pixels) {
		z = append(z, w.linear("conv_proj", ".", x))
	}
	for i := range z {
		z[i] = w.drop("embedding", image, i, plus(z[i], w.p["encoder.pos_embedding"][i*c.Width:][:c.Width]))
	}
	for block := range c.Depth {
		place := string(rune('0' + block))
		at := "encoder.layers.encoder_layer_" + place + "."
		qkv := make([][]float64, len(z))
		for i := range z {
			qkv[i] = w.linear(at+"self_attention.in_proj", "_", w.norm(at+"ln_1", z[i]))
		}
		for i, a := range w.attention(qkv) {
			z[i] = plus(z[i], w.drop(place+" attention", image, i, w.linear(at+"self_attention.out_proj", ".", a)))
			hidden := w.drop(place+" GELU", image, i, gelu(w.linear(at+"mlp.0", ".", w.norm(at+"ln_2", z[i]))))
			z[i] = plus(z[i], w.drop(place+" MLP", image, i, w.linear(at+"mlp.3", ".", hidden)))
		}
	}
	return w.linear("heads.head", ".", w.norm("encoder.ln", z[0]))
}

func transposed(x [][]float64) [][]float64 {
	y := make([][]float64, len(x[0]))
	for i := range y {
		for j := range x {
			y[i] = append(y[i], x[j][i])
		}
	}
	return y
}

func (w *twin) mixerLogits(image int, pixels []float64) []float64 {
	c := w.c
	var x [][]float64 // (tokens, width)
	for _, p := range w.patches(pixels) {
		x = append(x, w.linear("stem.proj", ".", p))
	}
	for block := range c.Depth {
		place := string(rune('0' + block))
		// mlp of every row; what is dropped of its value, the caller knows.
		mlp := func(name string, rows [][]float64) [][]float64 {
			y := make([][]float64, len(rows))
			for i, row := range rows {
				hidden := w.drop(place+" "+name+" GELU", image, i, gelu(w.linear("blocks."+place+"."+name+".fc1", ".", row)))
				y[i] = w.linear("blocks."+place+"."+name+".fc2", ".", hidden)
			}
			return y
		}
		join := func(name string, branch [][]float64) {
			for i := range x {
				x[i] = plus(x[i], w.drop(place+" "+name, image, i, branch[i]))
			}
		}
		norm := func(name string) [][]float64 {
			y := make([][]float64, len(x))
			for i := range x {
				y[i] = w.norm("blocks."+place+"."+name, x[i])
			}
			return y
		}
		join("mlp_tokens", transposed(mlp("mlp_tokens", transposed(norm("norm1")))))
		join("mlp_channels", mlp("mlp_channels", norm("norm2")))
	}
	mean := make([]float64, c.Width)
	for i := range x {
		for j, v := range w.norm("norm", x[i]) {
			mean[j] += v / float64(len(x))
		}
	}
	return w.linear("head", ".", mean)
}

// loss is the mean over the batch.
func (w *twin) loss(images []float64, labels []int, smoothing float64) float64 {
	loss, size := 0.0, len(images)/len(labels)
	for i, label := range labels {
		loss += nntest.Entropy(w.logits(i, images[i*size:][:size]), label, smoothing) / float64(len(labels))
	}
	return loss
}

// Fails when a backward pass is not the derivative of the forward pass that the papers define: by every parameter, and
// by every number of A and B where A' and B' are not 0, and with the masks of a training pass. Fails too when a mask is not
// where torchvision's or timm's is, or not of that rate, or a head's noise depends on another's. Images are not square, so rows and columns must not mix. What
// never trains (fixed sinusoids, a LayerNorm without affine) must have no gradient.
//
// The quotients err by h²/6·f‴ ≈ 1e-10 and by 2e-16·f/h ≈ 1e-11: the tolerance is the golden tests', that of float32.
func TestBackwardIsDerivative(t *testing.T) {
	const h, smoothing = 1e-5, 0.1
	for _, test := range []struct {
		name          string
		c             Config
		affine, head  bool
		positions     string
		dropout, path float64
		noises        int
	}{
		{"vit, weights", tiny(), true, false, "learned", 0, 0, 0},
		{"vit, weights, plain LayerNorm, fixed positions", tiny(), false, false, "sincos", 0, 0, 0},
		{"vit, weights and head", tiny(), true, true, "learned", 0, 0, 0},
		{"vit, dropout", tiny(), true, true, "learned", 0.3, 0, 1},
		{"vit, stochastic depth", tiny(), true, false, "learned", 0, 0.5, 1},
		{"vit, both, two noises", tiny(), false, true, "learned", 0.2, 0.5, 2},
		{"mixer, weights", tinyMixer(), true, false, "", 0, 0, 0},
		{"mixer, weights, plain LayerNorm", tinyMixer(), false, false, "", 0, 0, 0},
		{"mixer, weights and head", tinyMixer(), true, true, "", 0, 0, 0},
		{"mixer, dropout", tinyMixer(), true, true, "", 0.3, 0, 1},
		{"mixer, stochastic depth", tinyMixer(), true, false, "", 0, 0.5, 1},
		{"mixer, both, two noises", tinyMixer(), false, true, "", 0.2, 0.5, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.c
			c.NormAffine, c.Positions, c.Dropout, c.DropPath = test.affine, test.positions, test.dropout, test.path
			images, labels := batchOf(c, 2, 5)
			want := map[string][]float64{} // the same for every back end
			wantLoss := 0.0
			nntest.Backends(t, func(t *testing.T, b compute.Backend) {
				v := lively(t, c, b)
				trainAll(v)
				var head *lora.Head
				if test.head {
					head = livelyHead(t, v)
					v.UseLocal(head)
				}
				if len(want) == 0 {
					w, x := newTwin(v, head), nntest.Wide(images)
					if test.noises > 0 {
						w.masks = masksOf(c, 2, test.noises)
					}
					f := func() float64 { return w.loss(x, labels, smoothing) }
					wantLoss = f()
					for name, p := range w.p {
						want[name] = nntest.Differences(p, h, f)
					}
					for layer, p := range w.factors {
						want[layer+"/A"], want[layer+"/B"] = nntest.Differences(p[0].a, h, f), nntest.Differences(p[0].b, h, f)
						want[layer+"/b_A"], want[layer+"/b_B"] = nntest.Differences(p[0].biasA, h, f), nntest.Differences(p[0].biasB, h, f)
					}
				}
				_, loss := step(v, images, labels, smoothing, noisesOf(test.noises)...)
				nntest.Near(t, "loss", []float64{loss}, []float64{wantLoss}, forwardTolerance)
				worst := 0.0
				for _, p := range v.Parameters() {
					if !trains(c, p.Name) {
						if p.Grad != nil {
							t.Errorf("%s has a gradient, but never trains", p.Name)
						}
						continue
					}
					worst = max(worst, nearGradient(t, p.Name, p.Grad, want[p.Name]))
				}
				if test.head {
					for _, l := range v.Layers() {
						g := head.Adapter(l).Grad
						for name, got := range map[string][]float32{"/A": g.A.Data, "/B": g.B.Data, "/b_A": g.BiasA, "/b_B": g.BiasB} {
							worst = max(worst, nearGradient(t, l.Name+name, got, want[l.Name+name]))
						}
					}
				}
				t.Logf("gradients stray by %.1e", worst)
			})
		})
	}
}
