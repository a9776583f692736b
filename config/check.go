package config

import (
	"fmt"
	"math"
	"path"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Check reports the first key whose value is not allowed, alone or in combination with another key. The error is an *Error.
func (c Config) Check() error {
	for _, f := range fields {
		if err := f.check(f.in(&c)); err != nil {
			return err
		}
	}
	return c.checkTogether()
}

func (f field) check(v reflect.Value) error {
	var x float64
	switch f.kind {
	case reflect.Bool:
		return nil
	case reflect.String:
		if f.enum != nil && !slices.Contains(f.enum, v.String()) {
			return f.wrong(f.Allowed, v)
		}
		if !utf8.ValidString(v.String()) {
			return f.wrong("UTF-8 text", v)
		}
		if f.pattern {
			if _, err := path.Match(v.String(), ""); err != nil || v.String() == "" {
				return f.wrong(f.Allowed, v)
			}
		}
		return nil
	case reflect.Slice:
		if err := f.checkLength(v.Len()); err != nil {
			return err
		}
		for i := range v.Len() {
			if err := f.at(i).check(v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Struct:
		for _, key := range f.keys {
			if err := key.under(f).check(v.FieldByIndex(key.index)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Int:
		x = float64(v.Int())
	case reflect.Uint64:
		x = float64(v.Uint())
		if v.Uint() > math.MaxInt64 {
			return f.wrong(fmt.Sprintf("at most %d, the largest integer of TOML", math.MaxInt64), v)
		}
	case reflect.Float64:
		x = v.Float()
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return f.wrong("finite", v)
		}
	}
	if x < f.min || x > f.max || x <= f.above || x >= f.below {
		return f.wrong(f.Allowed, v)
	}
	return nil
}

// maxItems is the largest length of a list: every item is matched with every layer's name.
const maxItems = 256

func (f field) checkLength(n int) *Error {
	if n > maxItems {
		return &Error{Keys: []string{f.Name}, Problem: fmt.Sprintf("%s must have at most %d items, not %d", f.Name, maxItems, n)}
	}
	return nil
}

func (f field) wrong(expected string, v reflect.Value) error {
	got := literal(v.Interface())
	if f.kind == reflect.String {
		got = strconv.Quote(v.String()) // also shows bytes that are not UTF-8, which TOML cannot
	}
	return &Error{Keys: []string{f.Name}, Problem: fmt.Sprintf("%s must be %s, not %s", f.Name, expected, got)}
}

// minWatchdog is the shortest run.watchdog in seconds: ranks report their activity several times within it.
const minWatchdog = 0.1

// checkTogether checks combinations of keys.
func (c Config) checkTogether() error {
	if want, ok := Preset(c.Model.Preset); ok {
		for _, key := range presetKeys(want.Kind) {
			if got, want := key.in(&c).Interface(), key.in(&Config{Model: want}).Interface(); got != want {
				return contradiction(key.Name, "", got, c.Model.Preset, "", want)
			}
		}
	}
	widthOf, divisor := c.Model.widthOf()
	value := func(key string) any { return byName[key].in(&c).Interface() }
	for _, rule := range []struct {
		holds            bool
		key, must, other string
	}{
		{c.Model.Width%divisor == 0, "model.width", "a multiple of", widthOf},
		{c.Train.Batch%c.Train.Accumulate == 0, "train.batch", "a multiple of", "train.accumulate"},
		{c.Schedule.Warmup <= c.Train.Steps, "schedule.warmup", "at most", "train.steps"},
		{c.Schedule.MinLR <= c.Optimizer.LR, "schedule.min_lr", "at most", "optimizer.lr"},
	} {
		if !rule.holds {
			return &Error{Keys: []string{rule.key, rule.other}, Problem: fmt.Sprintf("%s must be %s %s (%v), not %v",
				rule.key, rule.must, rule.other, value(rule.other), value(rule.key))}
		}
	}
	if w := c.Run.Watchdog; w > 0 && w < minWatchdog {
		return &Error{Keys: []string{"run.watchdog"}, Problem: fmt.Sprintf("run.watchdog must be 0 (off) or at least %g, not %g", minWatchdog, w)}
	}
	if c.LoRA.Bias && (c.Exchange.Transport == "dense" || c.Exchange.Transport == "rows") {
		return &Error{Keys: []string{"exchange.transport", "lora.bias"}, Problem: fmt.Sprintf(
			"exchange.transport = %q cannot be combined with lora.bias: biases are merged from the factors of all heads; set exchange.transport = \"factors\" or \"auto\"", c.Exchange.Transport)}
	}
	if o := "exchange.overlap"; c.Exchange.Overlap {
		if t := c.Exchange.Transport; t == "dense" || t == "rows" {
			return &Error{Keys: []string{o, "exchange.transport"}, Problem: fmt.Sprintf(
				"%s = true cannot be combined with exchange.transport = %q: forming updates during the exchange would take cores from the steps; set exchange.transport = \"factors\" or \"auto\"", o, t)}
		}
		if c.Merge.Reset == "b" || c.Merge.Reset == "ab" {
			return &Error{Keys: []string{o, "merge.reset"}, Problem: fmt.Sprintf(
				"%s = true cannot be combined with merge.reset = %q: heads keep training while their factors are exchanged; set merge.reset = \"none\"", o, c.Merge.Reset)}
		}
		if len(c.Replicas.Train) > 0 {
			return &Error{Keys: []string{o, "replicas.train"}, Problem: o +
				" = true cannot be combined with replicas.train: their late means would undo what replicas learned since; leave one of the two out"}
		}
	}
	for i := 1; i < len(c.Merge.Schedule); i++ {
		if before, got := c.Merge.Schedule[i-1].Until, c.Merge.Schedule[i].Until; got <= before {
			key, other := fmt.Sprintf("merge.schedule[%d].until", i), fmt.Sprintf("merge.schedule[%d].until", i-1)
			return &Error{Keys: []string{key, other},
				Problem: fmt.Sprintf("%s must be above %s (%d), not %d", key, other, before, got)}
		}
	}
	return c.checkMethod()
}
