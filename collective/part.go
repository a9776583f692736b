package collective

// Share returns the i-th of parts equal ranges [from, to) of n elements; the last ones are shorter or empty.
func Share(n, i, parts int) (from, to int) {
	each := (n + parts - 1) / parts
	return min(n, i*each), min(n, (i+1)*each)
}

// Part returns the range of n elements that this rank processes for its node.
func Part(g Group, n int) (from, to int) { return Share(n, g.NodeRank(), g.NodeSize()) }
