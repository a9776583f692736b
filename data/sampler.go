package data

import (
	"math"
	"math/rand/v2"
	"slices"

	"lte/random"
)

// Sampler is an endless sequence of images, of a set or a shard of it: epoch after epoch, each a permutation that depends on (seed,
// epoch) alone, and on the shard. Every image occurs once per epoch.
//
// Its results depend on its arguments only. It caches the last permutation, so that increasing positions cost one shuffle per epoch;
// therefore a Sampler is not safe for concurrent use.
type Sampler struct {
	Shift  int // added to the positions of Batch
	stream func(epoch uint64) *rand.Rand
	all    []int32 // (n), the images
	epoch  int64   // of images; -1: none
	images []int32 // (n), the epoch's permutation
}

// Draw is one image of the sequence.
type Draw struct {
	Epoch int64
	Image int
}

// NewSampler returns the sampler over images 0..n-1.
func NewSampler(n int, seed uint64) *Sampler {
	return newSampler(indices(n), func(epoch uint64) *rand.Rand { return random.Stream(seed, "order", epoch) })
}

// NewShard returns the sampler over one of the shards into which images 0..n-1 are divided, at random and as equally as possible. A
// shard's images depend on (seed, shards) alone.
func NewShard(n int, seed uint64, shard, shards int) *Sampler {
	if shard < 0 || shard >= shards || shards > n {
		panic("data: shard out of range, or without images")
	}
	all := indices(n)
	shuffle(all, random.Stream(seed, "shards", uint64(shards)))
	own := slices.Clone(all[n*shard/shards : n*(shard+1)/shards])
	return newSampler(own, func(epoch uint64) *rand.Rand { return random.Stream(seed, "shard order", uint64(shard), epoch) })
}

func newSampler(all []int32, stream func(epoch uint64) *rand.Rand) *Sampler {
	return &Sampler{stream: stream, all: all, epoch: -1, images: make([]int32, len(all))}
}

// indices returns 0..n-1.
func indices(n int) []int32 {
	if n <= 0 || n > math.MaxInt32 {
		panic("data: sampler over no images, or over more than 2³¹-1")
	}
	all := make([]int32, n)
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

func shuffle(images []int32, rng *rand.Rand) {
	rng.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
}

// At returns the image at a position (from 0) of the sequence, and its epoch.
func (s *Sampler) At(position int64) (epoch int64, image int) {
	if position < 0 {
		panic("data: negative position")
	}
	n := int64(len(s.all))
	epoch = position / n
	if s.epoch != epoch {
		copy(s.images, s.all)
		shuffle(s.images, s.stream(uint64(epoch)))
		s.epoch = epoch
	}
	return epoch, int(s.images[position%n])
}

// Batch fills dst with the images of one rank of size at a step (from 0). With b = len(dst), rank k of N has at step t the positions
//
//	Shift + (t·N + k)·b + j,  0 <= j < b
//
// so that the batches of a step are N·b consecutive positions, the same for every N with equal N·b. A rank with H heads and b = H·c thus
// has the mini-batches of c images of heads k·H ... k·H+H-1 among N·H, one after the other.
func (s *Sampler) Batch(dst []Draw, step, rank, size int) {
	if step < 0 || rank < 0 || rank >= size {
		panic("data: step or rank out of range")
	}
	from := int64(s.Shift) + (int64(step)*int64(size)+int64(rank))*int64(len(dst))
	for j := range dst {
		dst[j].Epoch, dst[j].Image = s.At(from + int64(j))
	}
}
