package random

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// Fails on state that leaks between streams: a clock, a shared generator, a dependence on the order of calls.
func TestEqualTuplesHaveEqualStreams(t *testing.T) {
	a := Stream(7, "order", 1, 2)
	Stream(7, "order", 1, 3).Uint64()
	b := Stream(7, "order", 1, 2)
	for i := range 100 {
		if x, y := a.Uint64(), b.Uint64(); x != y {
			t.Fatalf("draw %d: %d and %d from the same tuple", i, x, y)
		}
	}
}

// Fails on an encoding in which two tuples meet: parts without lengths, ids that are added up, trailing zeros dropped.
func TestEveryPartChangesTheKey(t *testing.T) {
	type tuple struct {
		seed    uint64
		purpose string
		ids     []uint64
	}
	a8 := "a\x00\x00\x00\x00\x00\x00\x00" // an id's worth of bytes that could be read as part of the purpose
	tuples := []tuple{
		{0, "", nil}, {1, "", nil}, {0, "", []uint64{0}}, {0, "", []uint64{1}},
		{0, "a", nil}, {0, "a", []uint64{0}}, {0, "a", []uint64{0, 0}}, {0, "a", []uint64{1}}, {0, "a1", nil},
		{1, "a", []uint64{0}}, {0, "a", []uint64{1, 2}}, {0, "a", []uint64{2, 1}}, {0, "a", []uint64{12}},
		{0, a8, nil}, {0, "", []uint64{'a'}}, {0, a8 + "b", nil}, {0, a8, []uint64{'b'}}, {0, "b", []uint64{'a'}},
		{0, "a", []uint64{1 << 32}}, {1 << 32, "a", nil}, {0, "a", []uint64{1 << 63}},
	}
	seen := map[[32]byte]tuple{}
	for _, u := range tuples {
		key := Key(u.seed, u.purpose, u.ids...)
		if other, ok := seen[key]; ok {
			t.Errorf("%v and %v share a key", u, other)
		}
		seen[key] = u
	}
}

// Fails on any change of encoding or generator: it would silently give every recorded run other numbers. The key was
// computed apart from this code: sha256(struct.pack("<QQ", 42, 5) + b"split" + struct.pack("<QQ", 3, 2**40)).
func TestKeyAndStreamAreFixed(t *testing.T) {
	key := Key(42, "split", 3, 1<<40)
	if got, want := hex.EncodeToString(key[:]), goldenKey; got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	if got, want := Stream(42, "split", 3, 1<<40).Uint64(), goldenDraw; got != want {
		t.Errorf("first draw %d, want %d", got, want)
	}
}

// Fails on a reseeded generator that keeps something of the stream before, and a Key that allocates per call.
func TestReseedingEqualsAFreshStream(t *testing.T) {
	source := rand.NewChaCha8(Key(1, "augment", 0))
	rng := rand.New(source)
	rng.Uint32() // half of a word: nothing of it may be left over
	source.Seed(Key(1, "augment", 9))
	if got, want := rng.Uint64(), Stream(1, "augment", 9).Uint64(); got != want {
		t.Errorf("reseeded: %d, fresh: %d", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { source.Seed(Key(1, "augment", 9, 8)); rng.Float64() }); n != 0 {
		t.Errorf("%v allocations per reseed, want none", n)
	}
}

const goldenKey = "2fc5a78ec3c30b28d37a287875530d886f2d1f9affd409aeb669792f34c5de5c"
const goldenDraw uint64 = 9905985289988727982
