package cli

import "testing"

// Fails if a time beyond what nanoseconds count overflows, or one of a few hours is printed in years.
func TestLongTimes(t *testing.T) {
	for s, want := range map[float64]string{3e-5: "30 µs", 90: "1m30s", 90000: "25h0m0s", 31557600: "1.0 years", 4.5e11: "14,259.6 years", 1e21: "31,688,087,814,028.9 years"} {
		if got := seconds(s); got != want {
			t.Errorf("%v s: %q, want %q", s, got, want)
		}
	}
}
