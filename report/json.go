package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
)

// marshal encodes a struct as one line of JSON by its json tags, as encoding/json does but for floats that are NaN or
// infinite, which JSON lacks: they become null, so that a run that diverged still leaves files that every reader
// takes. Nested structs are encoded as they are.
func marshal(v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	out := []byte{'{'}
	for i := range rv.NumField() {
		name, options, _ := strings.Cut(rv.Type().Field(i).Tag.Get("json"), ",")
		field := rv.Field(i)
		if options == "omitempty" && field.IsZero() {
			continue
		}
		if field.Kind() == reflect.Pointer && !field.IsNil() {
			field = field.Elem()
		}
		value := []byte("null")
		if field.Kind() != reflect.Float64 || finite(field.Float()) {
			var err error
			if value, err = json.Marshal(field.Interface()); err != nil {
				return nil, err
			}
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, name...)
		out = append(out, '"', ':')
		out = append(out, value...)
	}
	return append(out, '}'), nil
}

// unmarshal decodes a struct that marshal encoded: a float that is null, or is not there at all, becomes NaN.
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

// kinds words what records and summaries have values of.
var kinds = map[reflect.Kind]string{reflect.Int: "an integer", reflect.Int64: "an integer", reflect.Uint64: "an integer that is not negative",
	reflect.Float64: "a finite number", reflect.String: "text", reflect.Slice: "a list", reflect.Map: "an object", reflect.Struct: "an object"}
