package data

import (
	"slices"
	"testing"
)

// Over every epoch each image occurs exactly once across the ranks. Fails if ranks overlap, if the remainder of an epoch is dropped, or if a
// batch that spans two epochs is read from one permutation.
func TestEveryImageOnceAnEpoch(t *testing.T) {
	const n, epochs = 101, 3
	for _, size := range []int{1, 2, 3, 8} {
		for _, batch := range []int{1, 4, 7, 101, 250} {
			var seen [epochs][n]int
			ranks := make([]*Sampler, size)
			for k := range ranks {
				ranks[k] = NewSampler(n, 5)
			}
			draws := make([]Draw, batch)
			for step := 0; step*size*batch < epochs*n; step++ {
				for k, s := range ranks {
					s.Batch(draws, step, k, size)
					for _, d := range draws {
						if d.Epoch < epochs {
							seen[d.Epoch][d.Image]++
						}
					}
				}
			}
			for epoch := range seen {
				for image, times := range seen[epoch] {
					if times != 1 {
						t.Fatalf("%d ranks, batch %d, epoch %d: image %d seen %d times", size, batch, epoch, image, times)
					}
				}
			}
		}
	}
}

// Fails if the global batch depends on the number of ranks.
func TestGlobalBatchIndependentOfRanks(t *testing.T) {
	const n, global = 50, 24
	for step := range 10 {
		var want []Draw
		for _, size := range []int{1, 2, 3, 8} {
			var got []Draw
			for k := range size {
				draws := make([]Draw, global/size)
				NewSampler(n, 5).Batch(draws, step, k, size)
				got = append(got, draws...)
			}
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("step %d, %d ranks: %v, want %v", step, size, got, want)
			}
		}
	}
}

// Fails if the cached permutation is used for another epoch: positions forwards, backwards and far apart agree.
func TestSamplerIsPure(t *testing.T) {
	const n = 10
	s := NewSampler(n, 3)
	for _, position := range []int64{0, 9, 10, 5, 25, 19, 41, 3, 1e12, 39, 20} {
		epoch, image := s.At(position)
		e, i := NewSampler(n, 3).At(position)
		if epoch != position/n || epoch != e || image != i {
			t.Errorf("position %d: epoch %d image %d, fresh: epoch %d image %d", position, epoch, image, e, i)
		}
	}
}

// Fails if epochs or seeds have the same order, or if the order changes: a resumed run would get other images.
func TestOrder(t *testing.T) {
	order := func(seed uint64, epoch int64) (images []int) {
		s := NewSampler(10, seed)
		for j := range int64(10) {
			_, image := s.At(10*epoch + j)
			images = append(images, image)
		}
		return images
	}
	if slices.Equal(order(1, 0), order(1, 1)) || slices.Equal(order(1, 0), order(2, 0)) {
		t.Error("another epoch or seed, the same order")
	}
	if got := order(1, 0); !slices.Equal(got, goldenOrder) {
		t.Errorf("order %v, want %v", got, goldenOrder)
	}
}

var goldenOrder = []int{4, 3, 1, 7, 5, 8, 2, 6, 0, 9}

// A shard has the same images in every epoch, each once and in another order; together the shards are the set, and their sizes differ by at
// most one.
func TestShards(t *testing.T) {
	const n, epochs = 101, 3
	for _, shards := range []int{1, 2, 3, 8, 101} {
		var owner [n]int
		orders := map[string]bool{}
		for k := range shards {
			size := n / shards
			s := NewShard(n, 5, k, shards)
			if len(s.all) != size && len(s.all) != size+1 {
				t.Fatalf("shard %d of %d has %d images", k, shards, len(s.all))
			}
			for e := range epochs {
				order := ""
				for j := range len(s.all) {
					epoch, image := s.At(int64(e*len(s.all) + j))
					if e == 0 && owner[image] != 0 || e > 0 && owner[image] != 10*(k+1)+e-1 || epoch != int64(e) {
						t.Fatalf("shard %d of %d, epoch %d: image %d is of %d", k, shards, e, image, owner[image])
					}
					owner[image] = 10*(k+1) + e
					order += string(rune(image))
				}
				orders[order] = true
			}
		}
		if slices.Min(owner[:]) == 0 {
			t.Errorf("%d shards are not the whole set", shards)
		}
		if shards < 10 && len(orders) != epochs*shards {
			t.Errorf("%d shards: %d orders in %d epochs", shards, len(orders), epochs)
		}
	}
	if slices.Equal(NewShard(n, 5, 0, 2).all, NewShard(n, 6, 0, 2).all) {
		t.Error("another seed, the same shards")
	}
}
