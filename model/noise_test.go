package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/compute"
	"lte/nn"
	"lte/nn/nntest"
)

func noiseSource(k int) rand.Source { return rand.NewPCG(40, uint64(k)) }

// noisesOf are the noises of that many heads.
func noisesOf(n int) (all []*nn.Noise) {
	for k := range n {
		all = append(all, nn.NewNoise(noiseSource(k)))
	}
	return all
}

// masksOf are the masks, by the twin's places, that so many noises draw for a pass of n images: each noise, for its own
// images, place after place, 16 bits a number and the rest of a place's last word left.
func masksOf(c Config, n, noises int) map[string][][]float64 {
	masks := map[string][][]float64{}
	for k := range noises {
		source, own := noiseSource(k), n/noises
		draw := func(length int, rate float64) (all [][]float64) {
			all = make([][]float64, own)
			if rate == 0 {
				for i := range all {
					all[i] = slices.Repeat([]float64{1}, length)
				}
				return all
			}
			keep, word := math.Round((1-rate)*65536), uint64(0)
			for i := range own * length {
				if word >>= 16; i%4 == 0 {
					word = source.Uint64()
				}
				x := 0.0
				if float64(word%65536) < keep {
					x = 65536 / keep
				}
				all[i/length] = append(all[i/length], x)
			}
			return all
		}
		at := func(place string, length int) { masks[place] = append(masks[place], draw(length, c.Dropout)...) }
		join := func(place string, block, length int) {
			mask := draw(length, c.Dropout)
			keep := draw(1, c.DropPath*float64(block)/float64(c.Depth-1))
			for i := range mask {
				for j := range mask[i] {
					mask[i][j] *= keep[i][0]
				}
			}
			masks[place] = append(masks[place], mask...)
		}
		w := c.Width
		if c.Kind == "vit" {
			at("embedding", c.tokens()*w)
		}
		for block := range c.Depth {
			place := fmt.Sprint(block, " ")
			if c.Kind == "mixer" {
				at(place+"mlp_tokens GELU", w*c.TokenMLP)
				join(place+"mlp_tokens", block, c.patches()*w)
				at(place+"mlp_channels GELU", c.patches()*c.MLP)
				join(place+"mlp_channels", block, c.patches()*w)
				continue
			}
			tokens := c.tokens()
			if block == c.Depth-1 {
				tokens = 1
			}
			join(place+"attention", block, tokens*w)
			at(place+"GELU", tokens*c.MLP)
			join(place+"MLP", block, tokens*w)
		}
	}
	return masks
}

// Fails when a pass with noise of one seed is not one pass, with that of another not another, when evaluation drops
// anything, or when two passes draw the same.
func TestNoiseIsOfTheSeed(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		for _, rates := range [][2]float64{{0.3, 0}, {0, 0.6}, {0.3, 0.6}} {
			c.Batch, c.Dropout, c.DropPath = 8, 0, 0
			images, _ := batchOf(c, 8, 5)
			plain := slices.Clone(lively(t, c, b).Forward(images).Data)
			c.Dropout, c.DropPath = rates[0], rates[1]
			v := lively(t, c, b)
			noise := nn.NewNoise(noiseSource(1))
			logits := func(noise *nn.Noise) []float32 { return slices.Clone(v.ForwardTraining(images, noise).Data) }
			first, second := logits(noise), logits(noise)
			if again := logits(nn.NewNoise(noiseSource(1))); !slices.Equal(again, first) {
				t.Errorf("%v: two passes of one seed differ", rates)
			}
			if slices.Equal(first, second) || slices.Equal(first, logits(nn.NewNoise(noiseSource(2)))) || slices.Equal(first, plain) {
				t.Errorf("%v: passes of two seeds, or of none, are one", rates)
			}
			if got := v.Forward(images).Data; !slices.Equal(got, plain) {
				t.Errorf("%v: evaluation drops something", rates)
			}
		}
	})
}

// Fails when a backward pass behind an evaluation takes masks of a training pass before it.
func TestEvaluationForgetsMasks(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		images, labels := batchOf(c, 2, 5)
		gradients := func(train bool) []float32 {
			c.Dropout, c.DropPath = 0.5, 0.5
			v := lively(t, c, b)
			grads := trainAll(v)
			if train {
				v.ForwardTraining(images, noisesOf(1)...)
			}
			y := v.Forward(images)
			dlogits := compute.Heap(compute.Float32).Matrix(y.Rows, y.Cols)
			nn.CrossEntropy(dlogits.Data, y.Data, nn.Targets{Labels: labels}, 2)
			v.Backward(dlogits)
			return grads
		}
		if !slices.Equal(gradients(true), gradients(false)) {
			t.Error("masks of the pass before are in the gradients")
		}
	})
}

// Fails when the masks of heads that share a pass are not those that each would draw alone.
func TestNoisesShareAPass(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		c.Batch, c.Dropout, c.DropPath = 6, 0.3, 0.6
		v := lively(t, c, b)
		images, _ := batchOf(c, 6, 5)
		together, size := nntest.Wide(v.ForwardTraining(images, noisesOf(3)...).Data), len(images)/3
		for k, noise := range noisesOf(3) {
			alone := v.ForwardTraining(images[k*size:(k+1)*size], noise)
			nntest.Near(t, "logits", alone.Data, together[k*2*c.Classes:(k+1)*2*c.Classes], forwardTolerance)
		}
	})
}

// drawsNothing fails its test when it is asked for a number.
type drawsNothing struct{ t *testing.T }

func (d drawsNothing) Uint64() uint64 { d.t.Error("a number is drawn"); return 0 }

// Fails when a training pass without rates is not Forward, to the bit, or draws.
func TestNoRatesDrawNothing(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		v := lively(t, c, b)
		images, _ := batchOf(c, 2, 5)
		want := slices.Clone(v.Forward(images).Data)
		for _, noise := range [][]*nn.Noise{nil, {nn.NewNoise(drawsNothing{t})}} {
			if got := v.ForwardTraining(images, noise...).Data; !slices.Equal(got, want) {
				t.Errorf("logits %v, want %v", got, want)
			}
		}
	})
}

// Fails when a training pass without noise runs as if nothing were to be dropped, or noises share images unevenly.
func TestForwardTrainingRefuses(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		c.DropPath, c.Batch = 0.5, 3
		v := newModel(t, c, b)
		images, _ := batchOf(c, 3, 5)
		for noises, want := range map[int]string{0: "nn: a training pass with dropout needs noise", 2: "nn: the images of a pass are no multiple of its noises"} {
			func() {
				defer func() {
					if got := recover(); got != want {
						t.Errorf("%d noises: panic %v", noises, got)
					}
				}()
				v.ForwardTraining(images, noisesOf(noises)...)
			}()
		}
	})
}
