package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// MarshalJSON encodes NaN and infinities as null, which every JSON reader accepts: a run that diverged still leaves valid files.
func (r Record) MarshalJSON() ([]byte, error) { return marshal(reflect.ValueOf(r)) }

// MarshalJSON encodes NaN and infinities as null.
func (s Summary) MarshalJSON() ([]byte, error) { return marshal(reflect.ValueOf(s)) }

// UnmarshalJSON decodes a number that is null or missing as NaN.
func (r *Record) UnmarshalJSON(text []byte) error {
	type plain Record
	return unmarshal(text, (*plain)(r))
}

// UnmarshalJSON decodes a number that is null or missing as NaN.
func (s *Summary) UnmarshalJSON(text []byte) error {
	type plain Summary
	return unmarshal(text, (*plain)(s))
}

// marshal encodes a struct by its json tags as encoding/json does, except for floats that are not finite.
func marshal(v reflect.Value) ([]byte, error) {
	out := []byte{'{'}
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		field := v.Field(i)
		if options == "omitempty" && field.IsZero() {
			continue
		}
		if field.Kind() == reflect.Pointer && !field.IsNil() {
			field = field.Elem()
		}
		value := []byte("null")
		if field.Kind() != reflect.Float64 || !math.IsNaN(field.Float()) && !math.IsInf(field.Float(), 0) {
			var err error
			if value, err = json.Marshal(field.Interface()); err != nil {
				return nil, err
			}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, "%q:%s", name, value)
	}
	return append(out, '}'), nil
}

// unmarshal decodes into the struct at v; errors name the JSON key and the expected type.
func unmarshal(text []byte, v any) error {
	rv := reflect.ValueOf(v).Elem()
	for i := range rv.NumField() {
		if field := rv.Field(i); field.Kind() == reflect.Float64 {
			field.SetFloat(math.NaN()) // encoding/json leaves a field alone where the text says null
		}
	}
	err := json.Unmarshal(text, v)
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
		what := fmt.Sprintf("%s, expected %s", wrong.Value[:min(len(wrong.Value), 40)], kinds[wrong.Type.Kind()])
		if wrong.Field == "" {
			return errors.New(what)
		}
		return fmt.Errorf("%q: %s", wrong.Field, what)
	}
	return err
}

// kinds describes the JSON values that records and summaries consist of.
var kinds = map[reflect.Kind]string{reflect.Int: "an integer", reflect.Int64: "an integer", reflect.Uint64: "an integer of at least 0",
	reflect.Float64: "a finite number", reflect.String: "text", reflect.Slice: "a list", reflect.Map: "an object", reflect.Struct: "an object"}
