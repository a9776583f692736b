package collective

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
)

// Failure is an error of one rank or more that all ranks know of.
type Failure struct {
	Rank int   // the lowest that failed
	Err  error // of this rank; nil where it is well
}

func (f *Failure) Error() string {
	if f.Err == nil {
		return fmt.Sprintf("rank %d failed", f.Rank)
	}
	return f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }

// Agree tells every rank whether any failed, so that all leave together: it returns nil if err is nil on all ranks,
// else a *Failure on every rank, with that rank's own err.
func Agree(g Group, err error) error {
	size := g.Size()
	buffer := takeWords(size + 1)
	defer words.Put(buffer)
	all, mine := (*buffer)[:size], (*buffer)[size:] // 1 for an error
	mine[0] = 0
	if err != nil {
		mine[0] = 1
	}
	if broken := Allgather(g, all, mine); broken != nil {
		return errors.Join(err, fmt.Errorf("collective: agreeing: %w", broken))
	}
	for k, failed := range all {
		if failed != 0 {
			return &Failure{Rank: k, Err: err}
		}
	}
	return nil
}

// Numbers brings every rank's number to all ranks, in order of rank.
func Numbers(g Group, mine uint64) ([]uint64, error) {
	all := make([]uint64, g.Size())
	return all, Allgather(g, all, []uint64{mine})
}

// Tell brings every rank's error to all ranks, as text; that of a rank without one is "".
func Tell(g Group, err error) (texts []string, broken error) {
	if err == nil {
		return Texts(g, "")
	}
	return Texts(g, err.Error())
}

// Texts brings every rank's text to all ranks.
func Texts(g Group, mine string) (texts []string, err error) {
	lengths, err := Numbers(g, uint64(len(mine)))
	if err != nil {
		return nil, fmt.Errorf("collective: lengths of texts: %w", err)
	}
	longest := int(slices.Max(lengths))
	src, all := make([]byte, longest), make([]byte, longest*g.Size())
	copy(src, mine)
	if err := g.Allgather(all, src); err != nil {
		return nil, fmt.Errorf("collective: texts: %w", err)
	}
	for rank, n := range lengths {
		texts = append(texts, string(all[rank*longest:rank*longest+int(n)]))
	}
	return texts, nil
}

// Sum replaces x, a few numbers, by their sums over the ranks, added in order of rank: the same bits everywhere. Every rank
// receives all ranks' numbers; for long vectors see Mean.
func Sum(g Group, x []float64) error {
	n, size := len(x), g.Size()
	buffer := takeWords((size + 1) * n)
	defer words.Put(buffer)
	all, mine := (*buffer)[:size*n], (*buffer)[size*n:] // (size, n) and (n), bits of float64
	for i, v := range x {
		mine[i] = math.Float64bits(v)
	}
	if err := Allgather(g, all, mine); err != nil {
		return fmt.Errorf("collective: sum: %w", err)
	}
	for i := range x {
		x[i] = math.Float64frombits(all[i])
		for k := 1; k < size; k++ {
			x[i] += math.Float64frombits(all[k*n+i])
		}
	}
	return nil
}

// words holds buffers for the small messages of functions that have no state of their own.
var words = sync.Pool{New: func() any { return new([]uint64) }}

func takeWords(n int) *[]uint64 {
	buffer := words.Get().(*[]uint64)
	if cap(*buffer) < n {
		*buffer = make([]uint64, n)
	}
	*buffer = (*buffer)[:n]
	return buffer
}
