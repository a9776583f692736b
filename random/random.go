// Package random derives every random value of a run from its seed.
//
// A run draws for many purposes: the split of a data set, the order of an epoch, an image's augmentation, the initial
// weights. Each has its own stream, identified by (seed, purpose, ids), so that an additional draw in one place changes
// none in another, a resumed run needs no saved generator, and a rank can compute the draws of any other rank.
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
// rank, the order of calls or draws from other streams. The stream is not safe for concurrent use.
func Stream(seed uint64, purpose string, ids ...uint64) *rand.Rand {
	return rand.New(rand.NewChaCha8(Key(seed, purpose, ids...)))
}

// Key returns the ChaCha8 key of Stream(seed, purpose, ids...). A loop that needs a fresh stream per item reseeds one generator with it
// (rand.ChaCha8.Seed), which allocates nothing; a rand.Rand over that generator has no state of its own and continues with the new
// stream.
func Key(seed uint64, purpose string, ids ...uint64) [32]byte {
	// seed | len(purpose) | purpose | ids..., integers as 8 bytes, little-endian. With the length and ids of equal size no two tuples have
	// the same encoding.
	var buffer [128]byte
	b := binary.LittleEndian.AppendUint64(buffer[:0], seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(purpose)))
	b = append(b, purpose...)
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	return sha256.Sum256(b)
}
