package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Check reports the first key whose value is not allowed, by itself or beside another. The error is an *Error.
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
			return f.wrong(f.allowed(), v)
		}
		if !utf8.ValidString(v.String()) {
			return f.wrong("UTF-8 text", v)
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
	if x < f.min || x <= f.above || x >= f.below {
		return f.wrong(f.allowed(), v)
	}
	return nil
}

func (f field) wrong(expected string, v reflect.Value) error {
	got := literal(v.Interface())
	if f.kind == reflect.String {
		got = strconv.Quote(v.String()) // shows what is no UTF-8, which TOML cannot
	}
	return &Error{Keys: []string{f.name}, Problem: fmt.Sprintf("%s must be %s, not %s", f.name, expected, got)}
}

// checkTogether checks keys against each other.
func (c Config) checkTogether() error {
	if want, ok := Preset(c.Model.Preset); ok {
		for _, key := range presetKeys {
			if got, want := key.of(&c.Model), *key.of(&want); *got != want {
				return contradiction(key.name, "", *got, c.Model.Preset, "", want)
			}
		}
	}
	together := func(ok bool, a, b, format string, args ...any) error {
		if ok {
			return nil
		}
		return &Error{Keys: []string{a, b}, Problem: a + " must be " + fmt.Sprintf(format, args...)}
	}
	if err := together(c.Model.Width%c.Model.Heads == 0, "model.width", "model.heads",
		"a multiple of model.heads (%d), not %d", c.Model.Heads, c.Model.Width); err != nil {
		return err
	}
	if err := together(c.Schedule.Warmup <= c.Train.Steps, "schedule.warmup", "train.steps",
		"at most train.steps (%d), not %d", c.Train.Steps, c.Schedule.Warmup); err != nil {
		return err
	}
	return together(c.Schedule.MinLR <= c.Optimizer.LR, "schedule.min_lr", "optimizer.lr",
		"at most optimizer.lr (%g), not %g", c.Optimizer.LR, c.Schedule.MinLR)
}
