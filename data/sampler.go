package data

import (
	"math"

	"lte/random"
)

// Sampler deals out an endless sequence of images: epoch after epoch, each a permutation that depends on
// (seed, epoch) alone. No image is missed or seen twice in an epoch.
//
// Its answers depend on its arguments only. It keeps the permutation asked for last, so that positions that grow cost
// one shuffle an epoch; for that a Sampler is not safe for concurrent use.
type Sampler struct {
	n      int
	seed   uint64
	epoch  int64   // of images; -1: none yet
	images []int32 // (n), the epoch's permutation
}

// Draw is one image of the sequence.
type Draw struct {
	Epoch int64
	Image int
}

// NewSampler returns the sampler over images 0..n-1.
func NewSampler(n int, seed uint64) *Sampler {
	if n <= 0 || n > math.MaxInt32 {
		panic("data: sampler over no images, or over more than it can number")
	}
	return &Sampler{n: n, seed: seed, epoch: -1, images: make([]int32, n)}
}

// At returns the image at a position (from 0) of the sequence, and the epoch that it belongs to.
func (s *Sampler) At(position int64) (epoch int64, image int) {
	if position < 0 {
		panic("data: negative position")
	}
	epoch = position / int64(s.n)
	if s.epoch != epoch {
		for i := range s.images {
			s.images[i] = int32(i)
		}
		random.Stream(s.seed, "order", uint64(epoch)).Shuffle(s.n, func(i, j int) {
			s.images[i], s.images[j] = s.images[j], s.images[i]
		})
		s.epoch = epoch
	}
	return epoch, int(s.images[position%int64(s.n)])
}

// Batch fills dst with what one rank of size sees at a step (from 0). With b = len(dst), rank k of N takes at step t
// the positions
//
//	(t·N + k)·b + j,  0 <= j < b
//
// so that the ranks' batches of a step are N·b consecutive positions, the same ones for every N of equal N·b. A rank
// with H heads and b = H·c thus holds the shares of c of heads k·H ... k·H+H-1 among N·H, one after the other.
func (s *Sampler) Batch(dst []Draw, step, rank, size int) {
	if step < 0 || rank < 0 || rank >= size {
		panic("data: step or rank out of range")
	}
	from := (int64(step)*int64(size) + int64(rank)) * int64(len(dst))
	for j := range dst {
		dst[j].Epoch, dst[j].Image = s.At(from + int64(j))
	}
}
