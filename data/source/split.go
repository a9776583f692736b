package source

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// take returns the images of an index, in its order.
func (s Split) take(index []int) (t Split) {
	t.Labels = make([]int32, 0, len(index))
	pixels := 0
	if s.Pixels != nil && len(s.Labels) > 0 {
		pixels = len(s.Pixels) / len(s.Labels)
		t.Pixels = make([]uint8, 0, len(index)*pixels)
	}
	for _, i := range index {
		t.Labels = append(t.Labels, s.Labels[i])
		if s.Files != nil {
			t.Files = append(t.Files, s.Files[i])
		}
		t.Pixels = append(t.Pixels, s.Pixels[i*pixels:(i+1)*pixels]...)
	}
	return t
}

// Stratify divides images 0..len(labels)-1 into train of them and the rest, with equal shares of every class. Both parts are in order.
//
// Class c gets train·n_c/n images of the first part, rounded down; the missing images are taken, one each, from the classes with the largest
// remainders (the lower class on a tie), so that the totals are exact.
func Stratify(labels []int32, classes, train int, rng *rand.Rand) (first, rest []int) {
	members := make([][]int, classes) // (classes, n_c)
	for i, c := range labels {
		members[c] = append(members[c], i)
	}
	n := len(labels)
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
	for c, m := range members {
		rng.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
		first = append(first, m[:quota[c]]...)
		rest = append(rest, m[quota[c]:]...)
	}
	slices.Sort(first)
	slices.Sort(rest)
	return first, rest
}
