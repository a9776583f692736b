package config

import (
	"fmt"

	"lte/method"
)

// Spec describes the configured method.
func (c Config) Spec() method.Method {
	m, _ := method.Named(c.Method) // Check has found that there is one
	return m
}

// SharesBasis says whether all heads begin every interval with the same factors, of which the mean travels.
func (c Config) SharesBasis() bool { return c.basis() == "shared" }

// basis is lora.basis, with auto resolved.
func (c Config) basis() string {
	needsOwn := c.Merge.Reset == "b" || c.Merge.Reset == "ab" || c.Merge.Combine == "sum" || c.Exchange.Transport != "factors" || c.LoRA.Bias
	switch {
	case c.LoRA.Basis != "auto":
		return c.LoRA.Basis
	case c.Spec().ExchangesHeads() && !needsOwn:
		return "shared"
	}
	return "own"
}

// FreezesA says whether A is the same for all heads and does not train.
func (c Config) FreezesA() bool { return c.SharesBasis() && !c.LoRA.TrainA }

// SharesWeights says whether the ranks of a node hold W in common: where it moves by merges of heads alone. Replicas are in W too,
// and each head trains its own.
func (c Config) SharesWeights() bool {
	return c.Exchange.ShareMemory && c.Spec().ExchangesHeads() && len(c.Replicas.Train) == 0
}

// Interval returns the steps K from a merge after that many steps to the next merge.
func (m Merge) Interval(step int) int {
	for _, i := range m.Schedule {
		if step < i.Until {
			return i.Every
		}
	}
	return m.Every
}

// Resolve fills in what depends on the method and on the number of ranks: config.toml is to say what was run. Doing
// it again changes nothing. The error is an *Error: lte cannot share its heads out among the ranks.
func (c *Config) Resolve(ranks int) error {
	m := c.Spec()
	if h := c.LoRA.Heads; m.Trains == method.OwnHeads && h%ranks != 0 {
		return &Error{Keys: []string{"lora.heads"}, Problem: fmt.Sprintf("lora.heads = %d cannot be shared out among "+
			"%d ranks: choose a multiple of %d, or 0 for one head a rank", h, ranks, ranks)}
	}
	c.LoRA.Basis = c.basis()
	if c.LoRA.Heads == 0 {
		switch {
		case m.SeveralHeads():
			c.LoRA.Heads = ranks
		case m.HasHeads():
			c.LoRA.Heads = 1
		}
	}
	if c.LoRA.Alpha == 0 && m.HasHeads() {
		c.LoRA.Alpha = 32
		switch {
		case c.SharesBasis(): // the mean of heads that learn the same takes nothing away
			c.LoRA.Alpha = 2 * float64(c.LoRA.Rank)
		case m.ExchangesHeads() && c.Merge.Combine == "mean":
			c.LoRA.Alpha *= float64(c.LoRA.Heads)
		}
	}
	reset, moments, sync := "none", "keep", "step"
	if m.Trains == method.OwnHeads {
		sync = "merge"
	}
	if m.Merges == method.Head { // a head that continues after it is merged is method lora
		reset, moments = "ab", "clear"
	}
	for _, key := range []struct {
		value    *string
		resolved string
	}{{&c.Merge.Reset, reset}, {&c.Merge.Moments, moments}, {&c.Replicas.Sync, sync}} {
		if *key.value == "auto" {
			*key.value = key.resolved
		}
	}
	if c.Replicas.LR == 0 {
		c.Replicas.LR = c.Optimizer.LR
	}
	if c.Optimizer.AdamWLR == 0 {
		c.Optimizer.AdamWLR = c.Optimizer.LR
	}
	if c.Measure.Every < 0 {
		c.Measure.Every = 0
		if c.Exchange.Transport == "factors" {
			c.Measure.Every = measureEvery
		}
	}
	return nil
}

// measureEvery is the interval of measurements where none is asked for: under 2 % of a run, see docs/observations.md.
const measureEvery = 400

// checkMethod reports what the method cannot do. What Resolve fills in passes.
func (c Config) checkMethod() error {
	m := c.Spec()
	merges, heads := m.Merges != method.Nothing, m.ExchangesHeads()
	for _, rule := range []struct {
		wrong        bool
		key, because string
	}{
		{m.Trains == method.OneHead && c.LoRA.Heads > 1, "lora.heads", "it has one head; set 1, or use method lte or mhlora"},
		{!m.HasHeads() && c.LoRA.Heads > 0, "lora.heads", "all weights train, there are no heads; set 0, or use method lte"},
		{!m.HasHeads() && len(c.LoRA.Layers) > 0, "lora.layers", "all weights train, there are no heads; leave it out, or use method lte"},
		{!m.HasHeads() && len(c.Replicas.Train) > 0, "replicas.train", "all weights train in any case; leave it out"},
		{m.Merges == method.Head && c.Merge.Reset == "none", "merge.reset",
			"a head that is never reset is method lora; use that, or set b or ab"},
		{!m.Resets() && (c.Merge.Reset == "b" || c.Merge.Reset == "ab"), "merge.reset",
			"no head is merged on the way; set auto, or use method lte or sequential"},
		{!merges && c.Merge.Moments == "clear", "merge.moments", "nothing is merged on the way; set auto"},
		{!merges && len(c.Merge.Schedule) > 0, "merge.schedule", "nothing is merged on the way; leave it out"},
		{!heads && c.Merge.Combine == "sum", "merge.combine", "only lte merges several heads; set mean"},
		{!heads && c.Merge.Momentum > 0, "merge.momentum",
			"only merges of heads have it; set 0, or use method lte, or diloco with outer.momentum"},
		{!heads && c.Merge.Decay == "weights", "merge.decay", "only lte can decay W at its merges; set factors"},
		{!heads && c.Exchange.Wire != "fp32", "exchange.wire", "only lte exchanges heads; set fp32"},
		{!heads && c.Exchange.Zstd, "exchange.zstd", "only lte exchanges heads; set false"},
		{!heads && c.LoRA.Basis == "shared", "lora.basis", "only lte merges several heads; set own"},
		{!heads && c.Exchange.Transport != "factors", "exchange.transport", "only lte exchanges heads; set factors"},
		{!heads && c.Exchange.Overlap, "exchange.overlap", "only lte exchanges heads; set false"},
		{m.Averages && c.Replicas.Sync == "merge", "replicas.sync",
			"its gradients are averaged every step, so replicas are the same on all ranks; set auto or step"},
		{m.Trains == method.OwnHeads && c.Replicas.Sync == "step", "replicas.sync",
			"its heads train alone between merges; set auto or merge"},
		{m.HasHeads() && !merges && c.EMA.Decay > 0, "ema.decay", "W does not move until the end; set 0"},
	} {
		if rule.wrong {
			return &Error{Keys: []string{rule.key, "method"}, Problem: fmt.Sprintf("%s = %s cannot be combined with method = %q: %s",
				rule.key, c.Value(rule.key), c.Method, rule.because)}
		}
	}
	return c.checkBasis()
}

// checkBasis reports what the basis of the heads does not allow. What Resolve fills in passes.
func (c Config) checkBasis() error {
	shared := c.LoRA.Basis == "shared"
	for _, rule := range []struct {
		wrong        bool
		key, because string
	}{
		{shared && !c.LoRA.TrainA && c.LoRA.Bias, "lora.bias", "a frozen A has no bias; set false, or lora.train_a = true"},
		{shared && (c.Merge.Reset == "b" || c.Merge.Reset == "ab"), "merge.reset", "its heads continue from their mean; set auto or none"},
		{shared && c.Merge.Combine == "sum", "merge.combine", "the mean of the factors travels; set mean"},
		{shared && c.Exchange.Transport != "factors", "exchange.transport", "the mean of the factors travels; set factors"},
	} {
		if rule.wrong {
			return &Error{Keys: []string{rule.key, "lora.basis"}, Problem: fmt.Sprintf("%s = %s cannot be combined with lora.basis = %q: %s",
				rule.key, c.Value(rule.key), c.LoRA.Basis, rule.because)}
		}
	}
	return nil
}
