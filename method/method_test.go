package method

import (
	"strings"
	"testing"
)

// Fails if a row contradicts itself, or misses what documentation and help print of it.
func TestTableIsConsistent(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range All() {
		if m.Name == "" || m.Name != strings.ToLower(m.Name) || seen[m.Name] {
			t.Errorf("name %q: expected a new one in lower case", m.Name)
		}
		seen[m.Name] = true
		if m.Summary == "" || m.Traffic == "" {
			t.Errorf("%s: no summary, or no traffic", m.Name)
		}
		if !m.Averages && m.Merges == Nothing {
			t.Errorf("%s: its ranks never synchronize", m.Name)
		}
		if m.Averages && (m.Merges == Heads || m.Merges == Weights || m.Trains == OwnHeads) {
			t.Errorf("%s: what it averages every step differs between ranks", m.Name)
		}
		if m.Outer && m.Merges != Weights {
			t.Errorf("%s: an outer step without averaged weights", m.Name)
		}
		if (m.Merges == Heads) != (m.Trains == OwnHeads) || m.Merges == Head && m.Trains != OneHead || m.Merges == Weights && m.HasHeads() {
			t.Errorf("%s: merges what does not train", m.Name)
		}
		if found, ok := Named(m.Name); !ok || found != m {
			t.Errorf("%s: not found by its name", m.Name)
		}
	}
	if !Default().ExchangesHeads() {
		t.Errorf("the default is %s, which merges no heads", Default().Name)
	}
	if b := Baseline(); b.HasHeads() || !b.Averages || b.Merges != Nothing {
		t.Errorf("the baseline is %s: not standard pre-training", b.Name)
	}
	if _, ok := Named("sgd"); ok {
		t.Error("a name that is no method's was found")
	}
}

// Fails if a method is taken for another kind: what merges, and whether heads train.
func TestKindsOfMethods(t *testing.T) {
	for name, want := range map[string][2]bool{ // merges, has heads
		"lte": {true, true}, "lora": {false, true}, "mhlora": {false, true}, "sequential": {true, true},
		"full": {false, false}, "localsgd": {true, false}, "diloco": {true, false},
	} {
		m, _ := Named(name)
		if got := [2]bool{m.Merges != Nothing, m.HasHeads()}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
