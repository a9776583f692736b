package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"lte/internal/file"

	"github.com/BurntSushi/toml"
)

// Load returns the configuration of a run: the defaults, changed by the TOML file at path (none where path is empty),
// changed by settings, each "section.key=value", which take precedence over the file. A file's key `base` names another file, relative
// to its own folder, that it changes. A model preset fills in the keys that it sets. The result has passed Check. Every error is an
// *Error, which names the file of the key at fault.
func Load(path string, settings []string) (Config, error) { return LoadRecipe("", path, settings) }

// LoadRecipe is Load of a file that changes a recipe: one of Recipes, or "" for the defaults.
func LoadRecipe(recipe, path string, settings []string) (Config, error) {
	l := loader{config: Default(), origin: map[string]origin{}}
	if recipe != "" {
		if err := l.recipe(recipe); err != nil {
			return Config{}, err
		}
	}
	if path != "" {
		if err := l.file(path, nil); err != nil {
			return Config{}, err
		}
	}
	for _, s := range settings {
		if err := l.setting(s); err != nil {
			return Config{}, err
		}
	}
	return l.finish()
}

// Read returns the configuration that Write wrote as text; name identifies the text in errors.
func Read(name, text string) (Config, error) {
	l := loader{config: Default(), origin: map[string]origin{}}
	if err := l.text(name, text, nil); err != nil {
		return Config{}, err
	}
	return l.finish()
}

func (l *loader) finish() (Config, error) {
	if err := l.preset(); err != nil {
		return Config{}, err
	}
	if err := l.config.Check(); err != nil {
		return Config{}, l.blame(err)
	}
	return l.config, nil
}

// origin is the place where a key was set.
type origin struct {
	where   string // as in Error.Where
	setting bool   // by --set, not in the file
}

type loader struct {
	config Config
	origin map[string]origin // for every key that was set explicitly
}

// blame adds to an error of Check the place where a key at fault was set; settings first, as they take precedence.
func (l *loader) blame(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	for _, setting := range []bool{true, false} {
		for _, key := range e.Keys {
			key, _, _ = strings.Cut(key, "[") // an element is set with its list
			if o, ok := l.origin[key]; ok && o.setting == setting {
				e.Where = o.where
				return e
			}
		}
	}
	return e
}

// file applies a file, its base first. from lists the chain of files that name it as their base.
func (l *loader) file(path string, from []base) error {
	where, named := path, "the configuration file"
	if len(from) > 0 {
		where, named = from[len(from)-1].where, fmt.Sprintf("%s %q", baseKey, path)
	}
	text, err := file.Read(path, maxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Where: where, Err: err, Problem: fmt.Sprintf("no such file; check the path of %s", named)}
	}
	if err != nil { // the path is in Where
		return &Error{Where: where, Err: err,
			Problem: fmt.Sprintf("cannot read %s: %v; expected a readable TOML file", named, file.Cause(err))}
	}
	return l.text(path, string(text), from)
}

// text applies TOML that was read from path, its base first; from as in file.
func (l *loader) text(path, text string, from []base) error {
	entries, err := parse(path, text)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == baseKey }); i >= 0 {
		if err := l.base(path, entries[i], from); err != nil {
			return err
		}
		entries = slices.Delete(entries, i, i+1)
	}
	for _, e := range entries {
		where := fmt.Sprintf("%s:%d", path, e.line)
		if headers, ok := e.value.([]map[string]any); ok && len(headers) > 1 {
			where = path // the line is that of the last header, not of the one at fault
		}
		if err := l.assign(e.name, e.value, where); err != nil {
			return err
		}
		l.origin[e.name] = origin{where: where}
	}
	return nil
}

// setting applies "section.key=value". The value is TOML; for a string key, text without quotes is accepted too.
func (l *loader) setting(s string) error {
	where := "--set " + strconv.Quote(s)
	if s == strings.Join(strings.Fields(s), "") && !strings.ContainsAny(s, `"'\`) { // readable without quotes
		where = "--set " + s
	}
	name, text, ok := strings.Cut(s, "=")
	name, text = strings.TrimSpace(name), strings.TrimSpace(text)
	if !ok || name == "" {
		return &Error{Where: where, Problem: "expected section.key=value, such as lora.rank=8"}
	}
	f, ok := byName[name]
	if !ok {
		return unknownKey(where, name)
	}
	var doc map[string]any
	err := measure(name, text)
	if err == nil {
		_, err = toml.Decode("v = "+text, &doc)
	}
	value, parsed := doc["v"], err == nil && len(doc) == 1
	if f.kind == reflect.String {
		quoted := strings.HasPrefix(text, `"`) || strings.HasPrefix(text, `'`)
		if _, isString := value.(string); !isString && !quoted {
			value, parsed = text, true
		}
	}
	if !parsed {
		return &Error{Where: where, Keys: []string{name},
			Problem: fmt.Sprintf("%s: expected %s, got %q", name, f.expected(), text)}
	}
	if err := l.assign(name, value, where); err != nil {
		return err
	}
	l.origin[name] = origin{where: where, setting: true}
	return nil
}

// assign stores a TOML value under its key. The library's own decoding is not used, as it ignores case and wraps a negative
// number to a large unsigned one.
func (l *loader) assign(name string, value any, where string) error {
	f, ok := byName[name]
	if !ok {
		return unknownKey(where, name)
	}
	if err := f.set(f.in(&l.config), value); err != nil {
		err.Where = where
		return err
	}
	return nil
}

// set stores a TOML value in dst, the field of f.
func (f field) set(dst reflect.Value, value any) *Error {
	v, fits := reflect.ValueOf(value), false
	switch value := value.(type) {
	case bool, string, float64:
		fits = f.kind == v.Kind()
	case int64:
		fits = f.kind == reflect.Int || f.kind == reflect.Float64 || f.kind == reflect.Uint64 && value >= 0
	case map[string]any:
		if f.kind == reflect.Struct {
			return f.setTable(dst, value)
		}
	case []any, []map[string]any: // the second comes from [[headers]]
		if f.kind == reflect.Slice {
			return f.setList(dst, v)
		}
	}
	if !fits {
		return &Error{Keys: []string{f.Name},
			Problem: fmt.Sprintf("%s: expected %s, got %s", f.Name, f.expected(), describe(value))}
	}
	dst.Set(v.Convert(dst.Type()))
	return nil
}

// setList stores an empty list as nil, so that there is one Config for it.
func (f field) setList(dst, values reflect.Value) *Error {
	if err := f.checkLength(values.Len()); err != nil {
		return err
	}
	list := reflect.Zero(dst.Type())
	for i := range values.Len() {
		item := reflect.New(dst.Type().Elem()).Elem()
		if err := f.at(i).set(item, values.Index(i).Interface()); err != nil {
			return err
		}
		list = reflect.Append(list, item)
	}
	dst.Set(list)
	return nil
}

// setTable stores a table of a list. A key may be left out if zero is an allowed value.
func (f field) setTable(dst reflect.Value, table map[string]any) *Error {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !slices.ContainsFunc(f.keys, func(key field) bool { return key.leaf == name }) {
			return unknownIn(f, name)
		}
	}
	for _, key := range f.keys {
		key = key.under(f)
		at := dst.FieldByIndex(key.index)
		if value, ok := table[key.leaf]; ok {
			if err := key.set(at, value); err != nil {
				return err
			}
		} else if key.check(at) != nil {
			return &Error{Keys: []string{key.Name},
				Problem: fmt.Sprintf("%s is missing; it must be %s", key.Name, key.Allowed)}
		}
	}
	return nil
}

// expected describes the field's type for an error.
func (f field) expected() string {
	switch f.kind {
	case reflect.Slice:
		return "a list, each item " + f.item.expected()
	case reflect.Struct:
		return "a table of " + f.leaves()
	}
	return map[reflect.Kind]string{
		reflect.Int:     "an integer such as 8",
		reflect.Uint64:  "an integer, 0 or more",
		reflect.Float64: "a float such as 0.5",
		reflect.Bool:    "true or false",
		reflect.String:  `a string such as "name"`,
	}[f.kind]
}

// describe describes a TOML value of the wrong type for an error.
func describe(value any) string {
	switch v := value.(type) {
	case bool:
		return fmt.Sprintf("boolean %t", v)
	case string:
		return fmt.Sprintf("string %q", v)
	case float64:
		return "float " + literal(v)
	case int64:
		return fmt.Sprintf("integer %d", v)
	case map[string]any:
		return "a table"
	case time.Time:
		return "a date or time"
	}
	return "a list"
}

// entry is one key of a TOML file.
type entry struct {
	name  string
	value any
	line  int
}

// parse returns the keys of a TOML text in the order of their lines. It also descends into tables that are not sections of Config,
// and into tables within sections, so that an error can name the key itself.
func parse(path, text string) ([]entry, error) {
	if err := measure(path, text); err != nil {
		return nil, err
	}
	var top map[string]toml.Primitive
	meta, err := toml.Decode(text, &top)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			// The library's line number is that of the next token if a token ends its line; its start can lie before the text.
			line := 1 + strings.Count(text[:max(0, min(syntax.Position.Start, len(text)))], "\n")
			return nil, &Error{Where: fmt.Sprintf("%s:%d", path, line), Err: err,
				Problem: "not TOML: " + strings.Join(strings.Fields(syntax.Message), " ")}
		}
		return nil, &Error{Where: path, Err: err, Problem: "not TOML: " + err.Error()}
	}
	var entries []entry
	places := 0
	var walk func(table map[string]toml.Primitive, under toml.Key)
	walk = func(table map[string]toml.Primitive, under toml.Key) {
		for name, p := range table {
			if places++; places > maxPlaces { // locating a key reads the whole text
				return
			}
			key := append(slices.Clone(under), name)
			e := entry{name: key.String()}
			e.value, e.line = locate(meta, p)
			_, known := byName[e.name]
			inner, isTable := e.value.(map[string]any)
			switch {
			case isTable && !known && len(inner) > 0:
				var below map[string]toml.Primitive
				if meta.PrimitiveDecode(p, &below) == nil {
					walk(below, key)
				}
			case isTable && len(key) == 1 && slices.Contains(sections, name): // an empty section sets nothing
			default:
				entries = append(entries, e)
			}
		}
	}
	walk(top, nil)
	if places > maxPlaces {
		return nil, &Error{Where: path, Problem: tooMany(maxPlaces)}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.line-b.line, strings.Compare(a.name, b.name))
	})
	return entries, nil
}

// locate returns a value and its line. The library gives the position of a key only in an error, so the probe that it decodes
// into stores the value and fails.
func locate(meta toml.MetaData, p toml.Primitive) (value any, line int) {
	var at probe
	var failed toml.ParseError
	if errors.As(meta.PrimitiveDecode(p, &at), &failed) {
		line = failed.Position.Line
	}
	return at.value, line
}

type probe struct{ value any }

var errProbed = errors.New("config: probed")

func (p *probe) UnmarshalTOML(value any) error {
	p.value = value
	return errProbed
}
