package config

import (
	"fmt"
	"slices"
)

// Merges reports whether the method merges every merge.every steps.
func (c Config) Merges() bool {
	return slices.Contains([]string{"lte", "sequential", "localsgd", "diloco"}, c.Method)
}

// AveragesGradients reports whether the method averages gradients over the ranks after every step.
func (c Config) AveragesGradients() bool { return !c.Merges() || c.Method == "sequential" }

// HasHeads reports whether the method trains LoRA heads, not all weights.
func (c Config) HasHeads() bool {
	return slices.Contains([]string{"lte", "lora", "mhlora", "sequential"}, c.Method)
}

// SharesWeights says whether the ranks of a node hold W in common: where it moves by merges of heads alone. Replicas are in W too,
// and each head trains its own.
func (c Config) SharesWeights() bool {
	return c.Exchange.ShareMemory && c.Method == "lte" && len(c.Replicas.Train) == 0
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
	if h := c.LoRA.Heads; c.Method == "lte" && h%ranks != 0 {
		return &Error{Keys: []string{"lora.heads"}, Problem: fmt.Sprintf("lora.heads = %d cannot be shared out among "+
			"%d ranks: choose a multiple of %d, or 0 for one head a rank", h, ranks, ranks)}
	}
	if c.LoRA.Heads == 0 {
		switch c.Method {
		case "lte", "mhlora":
			c.LoRA.Heads = ranks
		case "lora", "sequential":
			c.LoRA.Heads = 1
		}
	}
	if c.LoRA.Alpha == 0 && c.HasHeads() {
		c.LoRA.Alpha = 32
		if c.Method == "lte" && c.Merge.Combine == "mean" {
			c.LoRA.Alpha *= float64(c.LoRA.Heads)
		}
	}
	reset, moments, sync := "none", "keep", "step"
	switch c.Method {
	case "lte":
		sync = "merge"
	case "sequential":
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
	is := func(methods ...string) bool { return slices.Contains(methods, c.Method) }
	for _, rule := range []struct {
		wrong        bool
		key, because string
	}{
		{is("lora", "sequential") && c.LoRA.Heads > 1, "lora.heads",
			"it has one head; set 1, or use method lte or mhlora"},
		{!c.HasHeads() && c.LoRA.Heads > 0, "lora.heads",
			"all weights train, there are no heads; set 0, or use method lte"},
		{!c.HasHeads() && len(c.LoRA.Layers) > 0, "lora.layers",
			"all weights train, there are no heads; leave it out, or use method lte"},
		{!c.HasHeads() && len(c.Replicas.Train) > 0, "replicas.train",
			"all weights train in any case; leave it out"},
		{is("sequential") && c.Merge.Reset == "none", "merge.reset",
			"a head that never begins anew is method lora; use that, or set b or ab"},
		{!is("lte", "sequential") && (c.Merge.Reset == "b" || c.Merge.Reset == "ab"), "merge.reset",
			"no head is merged on the way; set auto, or use method lte or sequential"},
		{!c.Merges() && c.Merge.Moments == "clear", "merge.moments",
			"nothing is merged on the way; set auto"},
		{!c.Merges() && len(c.Merge.Schedule) > 0, "merge.schedule",
			"nothing is merged on the way; leave it out"},
		{!is("lte") && c.Merge.Combine == "sum", "merge.combine",
			"only lte merges several heads; set mean"},
		{!is("lte") && c.Merge.Momentum > 0, "merge.momentum",
			"only merges of heads have it; set 0, or use method lte, or diloco with outer.momentum"},
		{!is("lte") && c.Merge.Decay == "weights", "merge.decay",
			"only lte can decay W at its merges; set factors"},
		{!is("lte") && c.Exchange.Wire != "fp32", "exchange.wire",
			"only lte exchanges heads; set fp32"},
		{!is("lte") && c.Exchange.Zstd, "exchange.zstd",
			"only lte exchanges heads; set false"},
		{!is("lte") && c.Exchange.Transport != "factors", "exchange.transport",
			"only lte exchanges heads; set factors"},
		{!is("lte") && c.Exchange.Overlap, "exchange.overlap",
			"only lte exchanges heads; set false"},
		{c.AveragesGradients() && c.Replicas.Sync == "merge", "replicas.sync",
			"its gradients are averaged every step, no replica may drift; set auto or step"},
		{is("lte") && c.Replicas.Sync == "step", "replicas.sync",
			"its heads train alone between merges; set auto or merge"},
		{is("lora", "mhlora") && c.EMA.Decay > 0, "ema.decay",
			"W does not move until the end; set 0"},
	} {
		if rule.wrong {
			value := literal(byName[rule.key].in(&c).Interface())
			return &Error{Keys: []string{rule.key, "method"}, Problem: fmt.Sprintf("%s = %s cannot be with method = %q: %s",
				rule.key, value, c.Method, rule.because)}
		}
	}
	return nil
}
