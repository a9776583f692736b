package data

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// subset is the images of a collection that index names, in its order.
type subset struct {
	of    Images
	index []int // (images)
}

func (s *subset) Len() int                          { return len(s.index) }
func (s *subset) Label(i int) int                   { return s.of.Label(s.index[i]) }
func (s *subset) Picture(dst *Picture, i int) error { return s.of.Picture(dst, s.index[i]) }

// stratify divides images into train of them and the rest so that every class is divided alike. Both parts keep the
// collection's order.
//
// Class c gets train·n_c/n of the first part, rounded down; the images still missing go, one each, to the classes
// with the largest remainders (the lower class on a tie), so that the totals are exact.
func stratify(images Images, classes, train int, rng *rand.Rand) (first, rest *subset) {
	members := make([][]int, classes) // (classes, n_c)
	for i := range images.Len() {
		c := images.Label(i)
		members[c] = append(members[c], i)
	}
	n := images.Len()
	quota := make([]int, classes)
	order := make([]int, classes)
	missing := train
	for c := range classes {
		quota[c] = train * len(members[c]) / n
		order[c] = c
		missing -= quota[c]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(train*len(members[b])%n, train*len(members[a])%n)
	})
	for _, c := range order[:missing] {
		quota[c]++
	}
	first, rest = &subset{of: images}, &subset{of: images}
	for c, m := range members {
		rng.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
		first.index = append(first.index, m[:quota[c]]...)
		rest.index = append(rest.index, m[quota[c]:]...)
	}
	slices.Sort(first.index)
	slices.Sort(rest.index)
	return first, rest
}
