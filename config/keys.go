package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"lte/method"
	"lte/model/family"
)

// Key describes one key of a configuration.
type Key struct {
	Name    string // as in TOML and --set, such as "lora.rank"
	Type    string // integer, float, boolean, string, list of strings or list of tables
	Default string // as in TOML, such as 16, "lte" or []
	Unit    string // such as "steps"; empty where the key has none
	Doc     string
	Allowed string // such as `one of "lte", "full"` or "at least 1"; empty where the type says all
	Resume  bool   // it may change when a run goes on from a checkpoint
}

// Keys returns every key in the order of the structs.
func Keys() []Key {
	def := Default()
	keys := make([]Key, len(fields))
	for i, f := range fields {
		keys[i] = Key{
			Name:    f.name,
			Type:    f.typeName(),
			Default: literal(f.in(&def).Interface()),
			Unit:    f.unit,
			Doc:     f.doc,
			Allowed: f.allowed(),
			Resume:  f.mayChange,
		}
	}
	return keys
}

// Value returns the value of a key as TOML writes it; empty for a name that is no key.
func (c Config) Value(name string) string {
	f, ok := byName[name]
	if !ok {
		return ""
	}
	return literal(f.in(&c).Interface())
}

// Differences names the keys in which two configurations differ, in the order of Keys.
func Differences(a, b Config) (names []string) {
	for _, f := range fields {
		if f.differs(a, b) {
			names = append(names, f.name)
		}
	}
	return names
}

// differs says whether two configurations differ in the key. A list that is empty is one that was not set.
func (f field) differs(a, b Config) bool {
	x, y := f.in(&a), f.in(&b)
	if f.kind == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return false
	}
	return !reflect.DeepEqual(x.Interface(), y.Interface())
}

// field is one key: its place in Config and what its tags say.
type field struct {
	name      string // section.leaf, or leaf at the top level
	section   string // empty at the top level
	leaf      string
	index     []int // of reflect.Value.FieldByIndex
	kind      reflect.Kind
	unit, doc string
	enum      []string // allowed strings; nil: any
	pattern   bool     // strings that path.Match takes
	mayChange bool     // when a run is resumed
	item      *field   // of a list: what each element is, without a name
	keys      []field  // of a table in a list: its keys, named alone

	// Bounds: min <= value <= max, above < value < below; infinite where there is none. Those of integers are below 2^53, so that a
	// value that is rounded to a float is on the same side of them.
	min, max, above, below float64
}

// tables are those whose rows are a key's values: their names, and what the documentation of the key says of them.
var tables = map[string]func() (names []string, doc string){
	"method": func() ([]string, string) {
		var all []string
		for _, m := range method.All() {
			all = append(all, fmt.Sprintf("%s (%s)", m.Name, strings.ReplaceAll(m.Summary, "`", "")))
		}
		return method.Names(), strings.Join(all, ", ")
	},
	"family": func() ([]string, string) {
		var all []string
		for _, f := range family.All() {
			all = append(all, fmt.Sprintf("%s (%s)", f.Kind, f.Name))
		}
		return family.Kinds(), strings.Join(all, ", ")
	},
	"preset": func() ([]string, string) {
		names := []string{""}
		for _, p := range family.Presets() {
			names = append(names, p.Name)
		}
		return names, family.PresetKeys()
	},
}

// fields lists the top-level keys, then each section's, as TOML wants them.
var fields = fieldsOf(reflect.TypeFor[Config](), "", nil)

// sections lists the sections in order.
var sections = func() []string {
	var names []string
	for _, f := range fields {
		if f.section != "" && (len(names) == 0 || names[len(names)-1] != f.section) {
			names = append(names, f.section)
		}
	}
	return names
}()

// byName finds a field by its full name.
var byName = func() map[string]field {
	m := make(map[string]field, len(fields))
	for _, f := range fields {
		m[f.name] = f
	}
	return m
}()

func fieldsOf(t reflect.Type, section string, index []int) []field {
	var leaves, nested []field
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(append([]int(nil), index...), i)
		name := sf.Tag.Get("toml")
		if sf.Type.Kind() == reflect.Struct {
			nested = append(nested, fieldsOf(sf.Type, name, at)...)
			continue
		}
		f := field{
			name:      name,
			section:   section,
			leaf:      name,
			index:     at,
			kind:      sf.Type.Kind(),
			unit:      sf.Tag.Get("unit"),
			doc:       sf.Tag.Get("doc"),
			pattern:   sf.Tag.Get("pattern") != "",
			mayChange: sf.Tag.Get("resume") == "may",
			min:       bound(sf.Tag, "min", math.Inf(-1)),
			max:       bound(sf.Tag, "max", math.Inf(1)),
			above:     bound(sf.Tag, "above", math.Inf(-1)),
			below:     bound(sf.Tag, "below", math.Inf(1)),
		}
		if section != "" {
			f.name = section + "." + name
		}
		if enum, ok := sf.Tag.Lookup("enum"); ok {
			f.enum = strings.Split(enum, ",")
		}
		if table, ok := sf.Tag.Lookup("table"); ok {
			var doc string
			f.enum, doc = tables[table]()
			f.doc += ": " + doc
		}
		if f.kind == reflect.Slice {
			item := f // the tags of a list hold for each element
			item.kind = sf.Type.Elem().Kind()
			if item.kind == reflect.Struct {
				item.keys = fieldsOf(sf.Type.Elem(), "", nil)
			}
			f.item = &item
		}
		leaves = append(leaves, f)
	}
	return append(leaves, nested...)
}

func bound(tag reflect.StructTag, name string, none float64) float64 {
	text, ok := tag.Lookup(name)
	if !ok {
		return none
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("config: a bound of a struct tag is no number")
	}
	return v
}

// in returns the field's place in c.
func (f field) in(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(f.index)
}

// at names element i of list f.
func (f field) at(i int) field {
	item := *f.item
	item.name = fmt.Sprintf("%s[%d]", f.name, i)
	return item
}

// under names key f of a table.
func (f field) under(table field) field {
	f.name = table.name + "." + f.leaf
	return f
}

func (f field) typeName() string {
	switch f.kind {
	case reflect.Int, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "float"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Struct:
		return "table"
	case reflect.Slice:
		return "list of " + f.item.typeName() + "s"
	}
	panic("config: a key of a type that is not handled")
}

// allowed words the tags as an error and the help say them: "must be ALLOWED", "(ALLOWED)".
func (f field) allowed() string {
	if f.enum != nil {
		quoted := make([]string, len(f.enum))
		for i, v := range f.enum {
			quoted[i] = strconv.Quote(v)
		}
		return "one of " + strings.Join(quoted, ", ")
	}
	if f.pattern {
		return "a pattern (* any text, ? any character, [abc] one of these)"
	}
	var parts []string
	for _, b := range []struct {
		words string
		bound float64
	}{{"at least", f.min}, {"above", f.above}, {"at most", f.max}, {"below", f.below}} {
		if !math.IsInf(b.bound, 0) {
			parts = append(parts, b.words+" "+figure(b.bound))
		}
	}
	return strings.Join(parts, " and ")
}

// figure writes a bound: whole millions and what is very small as 1e6 and 1e-6, other numbers as they are.
func figure(x float64) string {
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if strings.HasSuffix(text, "000000") || strings.HasPrefix(text, "0.00000") {
		text = strings.NewReplacer("e+0", "e", "e+", "e", "e-0", "e-").Replace(strconv.FormatFloat(x, 'e', -1, 64))
	}
	return text
}
