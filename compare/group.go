package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lte/config"
	"lte/internal/quote"
	"lte/method"
)

// Panel holds what can be compared: the runs of one model on one data set, by variant, the baseline first.
type Panel struct {
	Dataset, Model string
	Variants       []Variant
}

// baseline returns the variant that all others are compared with, nil if there is none.
func (p Panel) baseline() *Variant {
	i := slices.IndexFunc(p.Variants, func(v Variant) bool { return v.method() == method.Baseline().Name })
	if i < 0 {
		return nil
	}
	return &p.Variants[i]
}

// parameters returns the number of parameters of the model.
func (p Panel) parameters() float64 { return float64(p.Variants[0].Runs[0].Summary.Parameters) }

// Setting is a key that distinguishes variants of one method, and its value.
type Setting struct{ Key, Value string }

// String returns text such as "K=10".
func (s Setting) String() string {
	return cmp.Or(symbols[s.Key], s.Key) + "=" + quote.Text(strings.Trim(s.Value, `"`))
}

// symbols are those of the paper.
var symbols = map[string]string{"lora.heads": "N", "lora.rank": "r", "merge.every": "K"}

// ranksKey stands for the number of ranks, which the summary holds and the configuration does not.
const ranksKey = "ranks"

// keys may distinguish variants. The first ones are preferred in names: other keys often depend on them.
var keys = func() []string {
	preferred := []string{"lora.heads", "lora.rank", "merge.every", "train.steps", "optimizer.lr", "lora.alpha", "exchange.wire"}
	names := slices.Clone(preferred)
	for _, k := range config.Keys() {
		if !slices.Contains(append(preferred, "method", "seed", "run.dir"), k.Name) {
			names = append(names, k.Name)
		}
	}
	return append(names, ranksKey)
}()

// value returns a run's value of one of the keys.
func value(r Run, key string) string {
	if key == ranksKey {
		return strconv.Itoa(r.Summary.Ranks)
	}
	return r.Config.Value(key)
}

// variantKey returns a text that is equal for runs that differ at most in their seed and directory, and for no others.
func variantKey(r Run) string {
	c := r.Config
	c.Seed, c.Run.Dir = 0, ""
	key := fmt.Sprintf("%q %q %d %#v", r.Summary.Dataset, r.Summary.Model, r.Summary.Ranks, c)
	return strings.ReplaceAll(key, "(nil)", "{}") // an empty list equals one that is not set
}

// Panels sorts runs into panels by data set and model, ordered by size, and within a panel into variants: the baseline, the default
// method, then the others. A variant is named after its method and, if its method has several variants in a panel, the fewest settings
// that distinguish them. All panels use the same settings, so that a name means the same everywhere.
func Panels(runs []Run) []Panel {
	panels := group(runs)
	settings := map[string][]string{} // by method
	for i := range panels {
		for j := range panels[i].Variants {
			v := &panels[i].Variants[j]
			if _, ok := settings[v.method()]; !ok {
				settings[v.method()] = distinguishingKeys(panels, v.method())
			}
			v.name(settings[v.method()])
		}
		slices.SortStableFunc(panels[i].Variants, func(a, b Variant) int {
			return cmp.Or(cmp.Compare(order(a.method()), order(b.method())), strings.Compare(a.method(), b.method()), compareTerms(a.Terms, b.Terms))
		})
	}
	slices.SortStableFunc(panels, func(a, b Panel) int {
		return cmp.Or(strings.Compare(a.Dataset, b.Dataset), cmp.Compare(a.parameters(), b.parameters()))
	})
	return panels
}

// group sorts runs into panels and variants, which have no names yet.
func group(runs []Run) (panels []Panel) {
	variants := map[string]int{} // indices within a panel, by variantKey
	for _, r := range runs {
		i := slices.IndexFunc(panels, func(p Panel) bool { return p.Dataset == r.Summary.Dataset && p.Model == r.Summary.Model })
		if i < 0 {
			i = len(panels)
			panels = append(panels, Panel{Dataset: r.Summary.Dataset, Model: r.Summary.Model})
		}
		p, key := &panels[i], variantKey(r)
		if _, ok := variants[key]; !ok {
			variants[key] = len(p.Variants)
			p.Variants = append(p.Variants, Variant{})
		}
		v := &p.Variants[variants[key]]
		v.Runs = append(v.Runs, r)
	}
	return panels
}

func (v Variant) method() string { return v.Runs[0].Config.Method }

// order returns the place of a method in a panel.
func order(name string) int {
	if i := slices.Index([]string{method.Baseline().Name, method.Default().Name}, name); i >= 0 {
		return i
	}
	return 2
}

// name sets the variant's name from its method and these keys.
func (v *Variant) name(keys []string) {
	v.Terms, v.Name = nil, v.method()
	for _, key := range keys {
		term := Setting{key, value(v.Runs[0], key)}
		v.Terms = append(v.Terms, term)
		v.Name += " " + term.String()
	}
}

// compareTerms orders values, as numbers if they are.
func compareTerms(a, b []Setting) int {
	for i := range min(len(a), len(b)) {
		x, errX := strconv.ParseFloat(a[i].Value, 64)
		y, errY := strconv.ParseFloat(b[i].Value, 64)
		if errX != nil || errY != nil {
			x, y = 0, 0
		}
		if c := cmp.Or(cmp.Compare(x, y), strings.Compare(a[i].Value, b[i].Value)); c != 0 {
			return c
		}
	}
	return 0
}

// distinguishingKeys returns keys, each of which distinguishes variants of the method within a panel that those before it do not.
func distinguishingKeys(panels []Panel, method string) (chosen []string) {
	var runs []Run                            // one of each variant
	var classes []string                      // of each run: equal for those that are not distinguished so far
	differ := map[string]bool{ranksKey: true} // keys; comparing the others would take most of the time
	for i, p := range panels {
		for _, v := range p.Variants {
			if v.method() != method {
				continue
			}
			runs, classes = append(runs, v.Runs[0]), append(classes, strconv.Itoa(i))
			for _, key := range config.Differences(runs[0].Config, v.Runs[0].Config) {
				differ[key] = true
			}
		}
	}
	for _, key := range keys {
		if !differ[key] {
			continue
		}
		finer := slices.Clone(classes)
		for i, r := range runs {
			finer[i] += "\x00" + value(r, key)
		}
		if distinct(finer) > distinct(classes) {
			chosen, classes = append(chosen, key), finer
		}
	}
	return chosen
}

func distinct(texts []string) int { return len(slices.Compact(slices.Sorted(slices.Values(texts)))) }

// Setup describes what is the same in all runs of the panel.
func (p Panel) Setup() string {
	var all []Run
	for _, v := range p.Variants {
		all = append(all, v.Runs...)
	}
	var parts []string
	add := func(format string, value func(Run) any) {
		for _, r := range all {
			if value(r) != value(all[0]) {
				return
			}
		}
		parts = append(parts, fmt.Sprintf(format, value(all[0])))
	}
	add("Data: %v.", func(r Run) any { return r.Summary.Dataset })
	add("Model: %v.", func(r Run) any { return r.Summary.Model })
	add("Parameters: %v.", func(r Run) any { return whole(float64(r.Summary.Parameters)) })
	add("Ranks: %v.", func(r Run) any { return r.Summary.Ranks })
	add("Images per step: %v, over all ranks and heads.", func(r Run) any { return r.Summary.Images / int64(r.Summary.Steps) })
	add("Schedule: %v.", func(r Run) any { return r.Config.Schedule.Kind })
	add("Warm-up: %v steps.", func(r Run) any { return r.Config.Schedule.Warmup })
	add("Optimizer: %v.", func(r Run) any { return r.Config.Optimizer.Name })
	add("Weight decay: %v.", func(r Run) any { return r.Config.Optimizer.WeightDecay })
	add("Precision: %v.", func(r Run) any { return r.Config.Compute.DType })
	return strings.Join(parts, " ")
}
