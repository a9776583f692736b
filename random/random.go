// Package random derives every random number of a run from its seed.
//
// A run draws for many purposes: the split of a data set, the order of an epoch, an image's augmentation, a weight's
// first value. Each has a stream of its own, named by (seed, purpose, ids), so that adding a draw in one place moves
// no number in another, a resumed run needs no saved generator, and a rank can compute what any other rank drew.
//
// The generator is ChaCha8 of math/rand/v2 (https://c2sp.org/chacha8rand), whose output for a key is fixed by its
// specification; the key is the SHA-256 of the encoded tuple (FIPS 180-4).
package random

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// Stream returns the random stream of one purpose, derived from (seed, purpose, ids) alone: never from the clock, the
// rank, the order of calls or what another stream has drawn. The stream is not safe for concurrent use.
func Stream(seed uint64, purpose string, ids ...uint64) *rand.Rand {
	return rand.New(rand.NewChaCha8(Key(seed, purpose, ids...)))
}

// Key returns the ChaCha8 key of Stream(seed, purpose, ids...). A loop that needs a fresh stream per item seeds one
// generator again with it (rand.ChaCha8.Seed) and so allocates nothing; a rand.Rand over that generator keeps no state
// of its own and continues with the new stream.
func Key(seed uint64, purpose string, ids ...uint64) [32]byte {
	// seed | len(purpose) | purpose | ids..., numbers as 8 bytes, little-endian. The length in front keeps the purpose
	// from running into the ids, and ids are of equal size, so that two tuples never share an encoding.
	var room [128]byte
	b := binary.LittleEndian.AppendUint64(room[:0], seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(purpose)))
	b = append(b, purpose...)
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	return sha256.Sum256(b)
}
