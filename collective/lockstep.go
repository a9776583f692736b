package collective

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Digest is the XXH64 of the bits of x, which may be empty. It tells 0 from −0 and one NaN from another.
//
// It reads x in place, as bytes in the machine's order: little endian wherever this program is used (amd64, arm64). Ranks compare
// digests with ranks of their own byte order only.
func Digest[T Number](x []T) uint64 { return xxhash.Sum64(Bytes(x)) }

// shown is how many layers an error names.
const shown = 8

// CheckLockstep compares every layer's digest over all ranks. If one differs, every rank returns the same error, which names the
// layers and the ranks that differ from rank 0.
func CheckLockstep(g Group, names []string, digests []uint64) error {
	n, size := len(digests), g.Size()
	if len(names) != n {
		panic("collective: not one digest for each name")
	}
	buffer := takeWords(size * n)
	defer words.Put(buffer)
	all := *buffer // (size, n)
	if err := Allgather(g, all, digests); err != nil {
		return fmt.Errorf("collective: checking lockstep: %w", err)
	}
	for k := 1; k < size; k++ {
		for i := range n {
			if all[k*n+i] != all[i] {
				return lockstepError(names, all)
			}
		}
	}
	return nil
}

// LockstepError says which layers have other bits on which ranks. All ranks return the same one.
type LockstepError struct {
	Layers      []int  // those that differ, by their place among the names
	Differences string // in words
}

func (e *LockstepError) Error() string {
	return "lockstep broken after merge: " + e.Differences
}

// lockstepError describes digests (size, layers) of which some differ from those of rank 0.
func lockstepError(names []string, digests []uint64) error {
	n := len(names)
	e := &LockstepError{}
	var layers []string
	for i, name := range names {
		var ranks []string
		for k := 1; k < len(digests)/n; k++ {
			if digests[k*n+i] != digests[i] {
				ranks = append(ranks, fmt.Sprint(k))
			}
		}
		if len(ranks) == 0 {
			continue
		}
		e.Layers = append(e.Layers, i)
		word := "rank"
		if len(ranks) > 1 {
			word = "ranks"
		}
		layers = append(layers, fmt.Sprintf("%q differs on %s %s from rank 0", name, word, strings.Join(ranks, ", ")))
	}
	if more := len(layers) - shown; more > 0 {
		layers = append(layers[:shown], fmt.Sprintf("and %d more", more))
	}
	e.Differences = strings.Join(layers, "; ")
	return e
}
