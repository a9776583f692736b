package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestMethodCannot has a case for every rule, and the methods that it holds for; the others allow the setting.
func TestMethodCannot(t *testing.T) {
	rules := []struct{ setting, methods, because string }{
		{"lora.heads=2", "lora sequential", "it has one head; set 1, or use method lte or mhlora"},
		{"lora.heads=2", "full localsgd diloco", "all weights train, there are no heads; set 0, or use method lte"},
		{"lora.heads=1", "full localsgd diloco", "all weights train, there are no heads; set 0, or use method lte"},
		{`lora.layers=[{match = "a", rank = 1, alpha = 0.0, skip = false}]`, "full localsgd diloco",
			"all weights train, there are no heads; leave it out, or use method lte"},
		{`replicas.train=["a"]`, "full localsgd diloco", "all weights train in any case; leave it out"},
		{`merge.reset="none"`, "sequential", "a head that is never reset is method lora; use that, or set b or ab"},
		{`merge.reset="b"`, "full lora mhlora localsgd diloco",
			"no head is merged on the way; set auto, or use method lte or sequential"},
		{`merge.reset="ab"`, "full lora mhlora localsgd diloco",
			"no head is merged on the way; set auto, or use method lte or sequential"},
		{`merge.moments="keep"`, "", ""},
		{`merge.moments="clear"`, "full lora mhlora", "nothing is merged on the way; set auto"},
		{"merge.schedule=[{until = 3, every = 1}]", "full lora mhlora", "nothing is merged on the way; leave it out"},
		{`merge.combine="sum"`, "full lora mhlora sequential localsgd diloco", "only lte merges several heads; set mean"},
		{"merge.momentum=0.5", "full lora mhlora sequential localsgd diloco",
			"only merges of heads have it; set 0, or use method lte, or diloco with outer.momentum"},
		{`merge.decay="weights"`, "full lora mhlora sequential localsgd diloco",
			"only lte can decay W at its merges; set factors"},
		{`exchange.wire="int8"`, "full lora mhlora sequential localsgd diloco", "only lte exchanges heads; set fp32"},
		{"exchange.zstd=true", "full lora mhlora sequential localsgd diloco", "only lte exchanges heads; set false"},
		{`exchange.transport="auto"`, "full lora mhlora sequential localsgd diloco", "only lte exchanges heads; set factors"},
		{"exchange.overlap=true", "full lora mhlora sequential localsgd diloco", "only lte exchanges heads; set false"},
		{`lora.basis="shared"`, "full lora mhlora sequential localsgd diloco", "only lte merges several heads; set own"},
		{`replicas.sync="merge"`, "full lora mhlora sequential",
			"its gradients are averaged every step, so replicas are the same on all ranks; set auto or step"},
		{`replicas.sync="step"`, "lte", "its heads train alone between merges; set auto or merge"},
		{"ema.decay=0.9", "lora mhlora", "W does not move until the end; set 0"},
		{`data.share="same"`, "", ""},
		{`data.share="shard"`, "", ""},
	}
	refused := map[string]bool{} // setting and method
	for _, c := range rules {
		for _, method := range strings.Fields(c.methods) {
			refused[c.setting+method] = true
		}
	}
	for _, c := range rules {
		key, value, _ := strings.Cut(c.setting, "=")
		for _, method := range byName["method"].enum {
			_, err := Load("", []string{"method=" + method, c.setting})
			if !slices.Contains(strings.Fields(c.methods), method) {
				if err != nil && !refused[c.setting+method] {
					t.Errorf("%s, %s: %v", method, c.setting, err)
				}
				continue
			}
			want := fmt.Sprintf("%s = %s cannot be combined with method = %q: %s", key, value, method, c.because)
			var e *Error
			if !errors.As(err, &e) || e.Problem != want || !slices.Equal(e.Keys, []string{key, "method"}) {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		}
	}
	c := Default()
	c.Merge.Decay, c.Optimizer.WeightDecay = "weights", 0
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// Fails if what contradicts the basis of the heads is accepted, or is refused by another rule.
func TestBasisCannot(t *testing.T) {
	for _, c := range []struct{ basis, setting, because string }{
		{"shared", `merge.reset="b"`, "its heads continue from their mean; set auto or none"},
		{"shared", `merge.reset="ab"`, "its heads continue from their mean; set auto or none"},
		{"shared", `merge.combine="sum"`, "the mean of the factors travels; set mean"},
		{"shared", `exchange.transport="dense"`, "the mean of the factors travels; set factors"},
		{"shared", "lora.bias=true", "a frozen A has no bias; set false, or lora.train_a = true"},
	} {
		key, value, _ := strings.Cut(c.setting, "=")
		settings := []string{"lora.basis=" + c.basis, c.setting}
		if _, err := Load("", append(settings, "lora.train_a=true")); key == "lora.bias" && err != nil {
			t.Errorf("%v: %v", settings, err)
		}
		_, err := Load("", settings)
		want := fmt.Sprintf("%s = %s cannot be combined with lora.basis = %q: %s", key, value, c.basis, c.because)
		var e *Error
		if !errors.As(err, &e) || e.Problem != want || !slices.Equal(e.Keys, []string{key, "lora.basis"}) {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

// resolved are the values that Resolve writes.
func resolved(c Config) string {
	return fmt.Sprintf("%s basis, %d heads, alpha %g, reset %s, moments %s, sync %s, replicas' rate %g",
		c.LoRA.Basis, c.LoRA.Heads, c.LoRA.Alpha, c.Merge.Reset, c.Merge.Moments, c.Replicas.Sync, c.Replicas.LR)
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		method   string
		settings []string
		want     string // of 4 ranks
	}{
		{"lte", nil, "shared basis, 4 heads, alpha 64, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"lora.heads=8"}, "shared basis, 8 heads, alpha 64, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"lora.basis=own"}, "own basis, 4 heads, alpha 128, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"exchange.transport=dense", "measure.every=400"}, "own basis, 4 heads, alpha 128, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"lora.bias=true"}, "own basis, 4 heads, alpha 128, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"merge.combine=sum"}, "own basis, 4 heads, alpha 32, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"lte", []string{"lora.alpha=7", "merge.reset=b", "merge.moments=clear", "replicas.lr=0.1"},
			"own basis, 4 heads, alpha 7, reset b, moments clear, sync merge, replicas' rate 0.1"},
		{"lte", []string{"lora.basis=shared", "lora.rank=24"}, "shared basis, 4 heads, alpha 48, reset none, moments keep, sync merge, replicas' rate 0.004"},
		{"mhlora", nil, "own basis, 4 heads, alpha 32, reset none, moments keep, sync step, replicas' rate 0.004"},
		{"mhlora", []string{"lora.heads=6"}, "own basis, 6 heads, alpha 32, reset none, moments keep, sync step, replicas' rate 0.004"},
		{"lora", nil, "own basis, 1 heads, alpha 32, reset none, moments keep, sync step, replicas' rate 0.004"},
		{"sequential", nil, "own basis, 1 heads, alpha 32, reset ab, moments clear, sync step, replicas' rate 0.004"},
		{"sequential", []string{"merge.reset=b", "merge.moments=keep"},
			"own basis, 1 heads, alpha 32, reset b, moments keep, sync step, replicas' rate 0.004"},
		{"full", nil, "own basis, 0 heads, alpha 0, reset none, moments keep, sync step, replicas' rate 0.004"},
		{"localsgd", nil, "own basis, 0 heads, alpha 0, reset none, moments keep, sync step, replicas' rate 0.004"},
		{"diloco", []string{"merge.moments=clear", "optimizer.lr=2"}, "own basis, 0 heads, alpha 0, reset none, moments clear, sync step, replicas' rate 2"},
	} {
		got, err := Load("", append([]string{"method=" + c.method}, c.settings...))
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Resolve(4); err != nil || resolved(got) != c.want {
			t.Errorf("%s %v:\n got %s, %v\nwant %s", c.method, c.settings, resolved(got), err, c.want)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s %v: resolved, but %v", c.method, c.settings, err)
		}
		if got.Measure.Every != measureEvery {
			t.Errorf("%s: measures every %d steps", c.method, got.Measure.Every)
		}
		again := got
		if err := again.Resolve(4); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s %v, resolved again: %s, %v", c.method, c.settings, resolved(again), err)
		}
	}
}

// Fails if measuring, unasked, decides how heads travel, or what is asked for is not done.
func TestResolveMeasurements(t *testing.T) {
	for settings, want := range map[string]int{"exchange.transport=auto": 0, "exchange.transport=dense": 0, "measure.every=0": 0, "measure.every=7": 7} {
		c, err := Load("", []string{settings})
		if err == nil {
			err = c.Resolve(2)
		}
		if err != nil || c.Measure.Every != want {
			t.Errorf("%s: every %d steps, want %d; %v", settings, c.Measure.Every, want, err)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for heads, want := range map[int]string{ // of 4 ranks
		2: "lora.heads = 2 cannot be shared out among 4 ranks: choose a multiple of 4, or 0 for one head a rank",
		6: "lora.heads = 6 cannot be shared out among 4 ranks: choose a multiple of 4, or 0 for one head a rank",
	} {
		c := Default()
		c.LoRA.Heads = heads
		before := c
		err := c.Resolve(4)
		var e *Error
		if !errors.As(err, &e) || e.Error() != want || !slices.Equal(e.Keys, []string{"lora.heads"}) {
			t.Errorf("%d heads: got %v\nwant %s", heads, err, want)
		}
		if !reflect.DeepEqual(c, before) {
			t.Errorf("%d heads: refused, but changed", heads)
		}
	}
}

func TestInterval(t *testing.T) {
	m := Merge{Every: 10, Schedule: []Interval{{Until: 3, Every: 1}, {Until: 9, Every: 2}}}
	for step, want := range map[int]int{0: 1, 2: 1, 3: 2, 8: 2, 9: 10, 1000: 10} {
		if got := m.Interval(step); got != want {
			t.Errorf("after step %d: %d, want %d", step, got, want)
		}
	}
	if got := (Merge{Every: 10}).Interval(0); got != 10 {
		t.Errorf("no schedule: %d, want 10", got)
	}
}
