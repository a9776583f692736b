package merge

import (
	"slices"

	"lte/collective"
)

// Factor is where the factors of one layer lie in a head's flat slice. The layer is y = x(W + s·BA)ᵀ.
type Factor struct {
	A, B    int // offsets: A is (R, N) at A, B is (M, R) at B, both row by row
	M, N, R int // outputs, inputs, rank
}

func (f Factor) spanA() span { return span{f.A, f.A + f.R*f.N} }
func (f Factor) spanB() span { return span{f.B, f.B + f.M*f.R} }

// byColumns reports whether Rows divides the columns of the update among the ranks: it divides the longer side.
func (f Factor) byColumns() bool { return f.M < f.N }

// part is the part of the update that a rank forms with Rows.
func (f Factor) part(rank, ranks int) (rows, columns span) {
	if f.byColumns() {
		return span{0, f.M}, share(f.N, rank, ranks)
	}
	return share(f.M, rank, ranks), span{0, f.N}
}

// slices are what a part of the update needs of the factor that is divided: rows of B, or columns of A.
func (f Factor) slices(rows, columns span) (all []span) {
	if !f.byColumns() {
		return []span{{f.B + rows.from*f.R, f.B + rows.to*f.R}}
	}
	for p := range f.R {
		row := f.A + p*f.N
		all = append(all, span{row + columns.from, row + columns.to})
	}
	return all
}

// span is a range of a flat slice.
type span struct{ from, to int }

func (s span) length() int { return s.to - s.from }

// share is the i-th of parts equal ranges of n elements; the last ones are shorter or empty.
func share(n, i, parts int) span {
	from, to := collective.Share(n, i, parts)
	return span{from, to}
}

// without is [0, n) without the spans, which do not overlap and may come in any order.
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

// bytesOf is the length of the message of some spans: each is encoded by itself.
func (w Wire) bytesOf(spans []span) (n int) {
	for _, s := range spans {
		n += w.Bytes(s.length())
	}
	return n
}

// encodeSpans is Encode of the spans of x and estimate; it returns the rest of dst.
func (w Wire) encodeSpans(dst []byte, estimate, x []float32, spans []span) (rest []byte) {
	for _, s := range spans {
		n, e := w.Bytes(s.length()), estimate
		if e != nil {
			e = e[s.from:s.to]
		}
		w.Encode(dst[:n], e, x[s.from:s.to])
		dst = dst[n:]
	}
	return dst
}

// decodeSpans is Decode into the spans of estimate; it returns the rest of src.
func (w Wire) decodeSpans(estimate []float32, src []byte, spans []span) (rest []byte) {
	for _, s := range spans {
		n := w.Bytes(s.length())
		w.Decode(estimate[s.from:s.to], src[:n])
		src = src[n:]
	}
	return src
}
