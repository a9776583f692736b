package model

import (
	"math"
	"math/rand/v2"
)

// initialise draws the weights as torchvision's VisionTransformer starts:
//
//	class_token                 0
//	conv_proj.weight            normal, σ = √(1/fan_in), cut at ±2 (absolute, as torch's trunc_normal_ does)
//	encoder.pos_embedding       normal, σ = 0.02
//	self_attention.in_proj      Xavier uniform
//	self_attention.out_proj     U(±1/√fan_in)
//	mlp.0, mlp.3                Xavier uniform; biases normal, σ = 1e-6
//	heads.head                  0
//	other biases                0
//	LayerNorm                   scale 1, shift 0
func (v *vit) initialise(rng *rand.Rand) {
	fanIn := float64(v.embed.W.Cols)
	truncatedNormal(v.embed.W.Data, math.Sqrt(1/fanIn), 2, rng)
	if v.config.Positions == "sincos" {
		sincos(v.positions, v.config)
	} else {
		normal(v.positions, 0.02, rng)
	}
	for _, b := range v.blocks {
		xavier(b.qkv, rng)
		uniform(b.proj.W.Data, 1/math.Sqrt(float64(b.proj.W.Cols)), rng)
		b.mlp.initialise(rng)
	}
}

// initialise draws the weights as timm's MlpMixer starts, by its _init_weights as it is called (flax and nlhb False):
//
//	stem.proj.weight            LeCun normal: cut at two of its σ, which is √(1/fan_in) after the cut
//	mlp_tokens, mlp_channels    fc1, fc2: Xavier uniform; biases normal, σ = 1e-6
//	head                        0
//	stem.proj.bias              0
//	LayerNorm                   scale 1, shift 0
func (m *mixer) initialise(rng *rand.Rand) {
	const cut = .87962566103423978 // the σ of a standard normal cut at ±2
	sigma := math.Sqrt(1/float64(m.embed.W.Cols)) / cut
	truncatedNormal(m.embed.W.Data, sigma, 2*sigma, rng)
	for _, b := range m.blocks {
		b.tokens.initialise(rng)
		b.channels.initialise(rng)
	}
}

func (m *mlp) initialise(rng *rand.Rand) {
	for _, l := range []*Linear{m.fc1, m.fc2} {
		xavier(l, rng)
		normal(l.B, 1e-6, rng)
	}
}

func uniform(x []float32, bound float64, rng *rand.Rand) {
	for i := range x {
		x[i] = float32((2*rng.Float64() - 1) * bound)
	}
}

func xavier(l *Linear, rng *rand.Rand) {
	uniform(l.W.Data, math.Sqrt(6/float64(l.W.Rows+l.W.Cols)), rng)
}

func normal(x []float32, sigma float64, rng *rand.Rand) {
	for i := range x {
		x[i] = float32(rng.NormFloat64() * sigma)
	}
}

func truncatedNormal(x []float32, sigma, cut float64, rng *rand.Rand) {
	for i := range x {
		z := rng.NormFloat64() * sigma
		for math.Abs(z) > cut {
			z = rng.NormFloat64() * sigma
		}
		x[i] = float32(z)
	}
}

// sincos fills the position embedding (tokens, width) with 2-D sinusoids of temperature 10,000 (Beyer et al., arXiv
// 2205.01580): a quarter of the width each for sin x, cos x, sin y, cos y; the class token's row is 0.
func sincos(dst []float32, c Config) {
	w, quarter := c.Width, c.Width/4
	clear(dst[:w])
	across := c.ImageWidth / c.Patch
	for p := range c.patches() {
		row := dst[(1+p)*w:][:w]
		x, y := float64(p%across), float64(p/across)
		for i := range quarter {
			omega := math.Pow(10000, -float64(i)/math.Max(1, float64(quarter-1)))
			row[i], row[quarter+i] = float32(math.Sin(x*omega)), float32(math.Cos(x*omega))
			row[2*quarter+i], row[3*quarter+i] = float32(math.Sin(y*omega)), float32(math.Cos(y*omega))
		}
	}
}
