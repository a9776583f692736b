package merge

import "testing"

// Fails if W moves on by more than once what it moved by where a merge adds to W itself, or what it is formed of stays behind.
func TestMomentumMovesWeightsAndOrigin(t *testing.T) {
	for _, formed := range []bool{false, true} {
		m := momentum{mu: 0.5, velocity: [][]float32{{0, 0, 4, 8}}}
		w := []float32{1, 2}
		from := w
		if formed {
			from = []float32{10, 20}
		}
		m.begin(w)
		w[0], w[1] = 2, 2 // merged
		m.end(0, 2, w, from)
		if w[0] != 2+0.5*(0.5*4+1) || w[1] != 2+0.5*(0.5*8) || m.velocity[0][2] != 3 || m.velocity[0][3] != 4 || m.velocity[0][0] != 0 {
			t.Errorf("formed %v: W %v, velocity %v", formed, w, m.velocity)
		}
		if formed && (from[0] != 10+1.5 || from[1] != 20+2) {
			t.Errorf("W is formed of %v", from)
		}
	}
}
