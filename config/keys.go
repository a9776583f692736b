package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"lte/family"
	"lte/method"
)

// Key describes one key of a configuration.
type Key struct {
	Name    string // as in TOML and --set, such as "lora.rank"
	Type    string // integer, float, boolean, string, list of strings or list of tables
	Default string // as in TOML, such as 16, "lte" or []
	Unit    string // such as "steps"; empty where the key has none
	Doc     string
	Allowed string // such as `one of "lte", "full"` or "at least 1"; empty if the type allows every value
	Resume  bool   // the value may change when a run is resumed
}

// Keys returns every key in the order of the structs.
func Keys() []Key {
	def := Default()
	keys := make([]Key, len(fields))
	for i, f := range fields {
		keys[i] = f.Key
		keys[i].Default = literal(f.in(&def).Interface())
	}
	return keys
}

// Value returns the value of a key as TOML writes it; empty for an unknown name.
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
			names = append(names, f.Name)
		}
	}
	return names
}

// differs reports whether two configurations differ in the key. An empty list equals one that was not set.
func (f field) differs(a, b Config) bool {
	x, y := f.in(&a), f.in(&b)
	if f.kind == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return false
	}
	return !reflect.DeepEqual(x.Interface(), y.Interface())
}

// field is one key as its struct tags define it.
type field struct {
	Key              // without the default
	section   string // empty at the top level
	leaf      string // Name without the section
	index     []int  // of reflect.Value.FieldByIndex, in Config or in the table
	kind      reflect.Kind
	item      *field  // for a list: its element, without a name
	keys      []field // for a table in a list: its keys, without the table's name
	condition         // on values
}

// condition restricts the values of a key. Bounds of integers are below 2^53, so that rounding a value to a float does not move it across
// a bound.
type condition struct {
	enum                   []string // allowed strings; nil: any
	pattern                bool     // strings must be patterns of path.Match
	min, max, above, below float64  // min <= value <= max, above < value < below; infinite if absent
}

// tables maps the name of a table to its rows, which are a key's allowed values, and to their documentation.
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

// fields lists the top-level keys, then those of each section, as TOML requires.
var fields = fieldsOf(reflect.TypeFor[Config](), "", nil)

// sections lists the sections in order.
var sections = func() (names []string) {
	for _, f := range fields {
		names = append(names, f.section)
	}
	return slices.Compact(names)[1:] // without the top level
}()

// byName maps full names to fields.
var byName = func() map[string]field {
	m := make(map[string]field, len(fields))
	for _, f := range fields {
		m[f.Name] = f
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
			Key: Key{
				Name:   strings.TrimPrefix(section+"."+name, "."),
				Type:   typeNames[sf.Type.Kind()],
				Unit:   sf.Tag.Get("unit"),
				Doc:    sf.Tag.Get("doc"),
				Resume: sf.Tag.Get("resume") == "may",
			},
			section: section,
			leaf:    name,
			index:   at,
			kind:    sf.Type.Kind(),
			condition: condition{
				pattern: sf.Tag.Get("pattern") != "",
				min:     bound(sf.Tag, "min", math.Inf(-1)),
				max:     bound(sf.Tag, "max", math.Inf(1)),
				above:   bound(sf.Tag, "above", math.Inf(-1)),
				below:   bound(sf.Tag, "below", math.Inf(1)),
			},
		}
		if enum, ok := sf.Tag.Lookup("enum"); ok {
			f.enum = strings.Split(enum, ",")
		}
		if table, ok := sf.Tag.Lookup("table"); ok {
			var doc string
			f.enum, doc = tables[table]()
			f.Doc += ": " + doc
		}
		f.Allowed = f.allowed()
		if f.kind == reflect.Slice {
			item := f // the tags of a list apply to each element
			item.kind = sf.Type.Elem().Kind()
			if item.kind == reflect.Struct {
				item.keys = fieldsOf(sf.Type.Elem(), "", nil)
			}
			f.item = &item
			f.Type = "list of " + typeNames[item.kind] + "s"
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
		panic("config: a bound in a struct tag is not a number")
	}
	return v
}

// in returns the field of c.
func (f field) in(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(f.index)
}

// at returns element i of list f, with its name.
func (f field) at(i int) field {
	item := *f.item
	item.Name = fmt.Sprintf("%s[%d]", f.Name, i)
	return item
}

// under returns key f of a table, with its full name.
func (f field) under(table field) field {
	f.Name = table.Name + "." + f.leaf
	return f
}

// typeNames are the types of keys as the help names them.
var typeNames = map[reflect.Kind]string{reflect.Int: "integer", reflect.Uint64: "integer", reflect.Float64: "float", reflect.Bool: "boolean",
	reflect.String: "string", reflect.Struct: "table"}

// allowed describes the allowed values, to follow "must be" in errors and to stand in brackets in the help.
func (c condition) allowed() string {
	if c.enum != nil {
		var quoted []string
		for _, v := range c.enum {
			quoted = append(quoted, strconv.Quote(v))
		}
		return "one of " + strings.Join(quoted, ", ")
	}
	if c.pattern {
		return "a pattern (* any text, ? any character, [abc] one of these)"
	}
	var parts []string
	for _, b := range []struct {
		words string
		bound float64
	}{{"at least", c.min}, {"above", c.above}, {"at most", c.max}, {"below", c.below}} {
		if !math.IsInf(b.bound, 0) {
			parts = append(parts, b.words+" "+figure(b.bound))
		}
	}
	return strings.Join(parts, " and ")
}

// figure formats a bound: multiples of a million and very small numbers as 1e6 and 1e-6, others in decimal.
func figure(x float64) string {
	text := strconv.FormatFloat(x, 'f', -1, 64)
	if strings.HasSuffix(text, "000000") || strings.HasPrefix(text, "0.00000") {
		text = strings.NewReplacer("e+0", "e", "e+", "e", "e-0", "e-").Replace(strconv.FormatFloat(x, 'e', -1, 64))
	}
	return text
}
