package record

import (
	"fmt"
	"math"
	"reflect"
	"strings"
)

// Bounds of the numbers of a record or a summary.
const (
	maxCount   = 1 << 53 // float64 holds all smaller ones
	maxSeconds = 1e9     // 32 years
	maxName    = 256     // bytes
)

// limits of floats by JSON key; all others must be at least 0. NaN, which stands for a missing number, is always accepted.
var limits = map[string]struct{ least, most float64 }{
	"seconds":       {0, maxSeconds},
	"data_wait":     {0, maxSeconds},
	"train_loss":    {-math.MaxFloat64, math.MaxFloat64},
	"test_loss":     {-math.MaxFloat64, math.MaxFloat64},
	"ema_test_loss": {-math.MaxFloat64, math.MaxFloat64},
	"test_top1":     {0, 1},
	"ema_test_top1": {0, 1},
	"alignment":     {0, 1 + 1e-6}, // rounding
	"grassmann":     {0, 1 + 1e-6},
}

// checkRecord returns an error for an impossible value; before is the step of the previous record, 0 if there is none.
func checkRecord(r Record, before int) error {
	if r.Step <= before {
		return fmt.Errorf(`"step" is %d: expected more than %d`, r.Step, before)
	}
	return checkNumbers(reflect.ValueOf(r))
}

// checkSummary returns an error for an impossible value.
func checkSummary(s Summary) error {
	if s.Steps < 1 {
		return fmt.Errorf(`"steps" is %d: expected the summary of a finished run`, s.Steps)
	}
	for key, name := range map[string]string{"method": s.Method, "model": s.Model, "dataset": s.Dataset} {
		if len(name) > maxName {
			return fmt.Errorf("%q has %d bytes: expected at most %d", key, len(name), maxName)
		}
	}
	return checkNumbers(reflect.ValueOf(s))
}

// checkNumbers checks the numbers of a struct and of the structs in it against their limits.
func checkNumbers(v reflect.Value) error {
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		field := v.Field(i)
		if field.Kind() == reflect.Pointer {
			field = field.Elem() // the zero Value of nil
		}
		switch field.Kind() {
		case reflect.Struct:
			if err := checkNumbers(field); err != nil {
				return fmt.Errorf("%q: %w", key, err)
			}
		case reflect.Int, reflect.Int64:
			if n := field.Int(); n < 0 || n > maxCount {
				return fmt.Errorf("%q is %d: expected 0 to %d", key, n, maxCount)
			}
		case reflect.Float64:
			x := field.Float()
			limit, ok := limits[key]
			if !ok {
				limit.most = math.MaxFloat64
			}
			if x < limit.least {
				return fmt.Errorf("%q is %g: expected at least %g", key, x, limit.least)
			}
			if x > limit.most {
				return fmt.Errorf("%q is %g: expected at most %g", key, x, limit.most)
			}
		}
	}
	return nil
}
