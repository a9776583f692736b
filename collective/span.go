package collective

import "slices"

// span is a stretch of a flat slice.
type span struct{ from, to int }

func (s span) length() int { return s.to - s.from }

// share is the i-th of parts equal stretches of n, the last ones shorter or empty.
func share(n, i, parts int) span {
	each := (n + parts - 1) / parts
	return span{min(n, i*each), min(n, (i+1)*each)}
}

// without is what the spans, in any order but apart, leave of [0, n).
func without(n int, spans []span) (left []span) {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	at := 0
	for _, s := range append(spans, span{n, n}) {
		if s.from > at {
			left = append(left, span{at, s.from})
		}
		at = max(at, s.to)
	}
	return left
}

// bytesOf is the length of the spans' message: each is a message of its own.
func (w Wire) bytesOf(spans []span) (n int) {
	for _, s := range spans {
		n += w.Bytes(s.length())
	}
	return n
}

// encodeSpans is Encode of the spans of x and held; it returns what is left of dst.
func (w Wire) encodeSpans(dst []byte, held, x []float32, spans []span) (rest []byte) {
	for _, s := range spans {
		n, h := w.Bytes(s.length()), held
		if h != nil {
			h = h[s.from:s.to]
		}
		w.Encode(dst[:n], h, x[s.from:s.to])
		dst = dst[n:]
	}
	return dst
}

// decodeSpans is Decode to the spans of held; it returns what is left of src.
func (w Wire) decodeSpans(held []float32, src []byte, spans []span) (rest []byte) {
	for _, s := range spans {
		n := w.Bytes(s.length())
		w.Decode(held[s.from:s.to], src[:n])
		src = src[n:]
	}
	return src
}
