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

// Setting is a key that tells lines of one method apart, and its value.
type Setting struct{ Key, Value string }

// String is such as "K=10".
func (s Setting) String() string {
	name := s.Key
	if letter, ok := letters[s.Key]; ok {
		name = letter
	}
	return name + "=" + quote.Text(strings.Trim(s.Value, `"`))
}

// letters are the paper's for keys.
var letters = map[string]string{"lora.heads": "N", "lora.rank": "r", "merge.every": "K"}

// ranksKey is no key of the configuration: the number of ranks, of the summary.
const ranksKey = "ranks"

// keys that may tell lines apart, those first that a name should speak of: what else differs often follows from them.
var keys = func() []string {
	first := []string{"lora.heads", "lora.rank", "merge.every", "train.steps", "optimizer.lr", "lora.alpha", "exchange.wire", "seed"}
	names := first[:len(first)-1]
	for _, k := range config.Keys() {
		if !slices.Contains(first, k.Name) && !slices.Contains([]string{"method", "run.dir"}, k.Name) {
			names = append(names, k.Name)
		}
	}
	return append(names, ranksKey)
}()

// setting is a run's value of a key.
func setting(r Run, key string) string {
	if key == ranksKey {
		return strconv.Itoa(r.Summary.Ranks)
	}
	return r.Config.Value(key)
}

// alike says whether two runs are of one line: equal but for seed and place.
func alike(a, b Run) bool {
	if a.Summary.Ranks != b.Summary.Ranks {
		return false
	}
	return !slices.ContainsFunc(config.Differences(a.Config, b.Config), func(key string) bool { return key != "seed" && key != "run.dir" })
}

// digest is the same of all runs that are alike.
func digest(r Run) string {
	c := r.Config
	c.Seed, c.Run.Dir = 0, ""
	return fmt.Sprintf("%d %+v", r.Summary.Ranks, c)
}

// Panels sorts runs into panels, by data set and by the model's size, and within one into lines: full, then lte, then the
// others. A line's name is its method's, and where lines of one method stand in a panel the fewest settings that tell
// them apart: the same ones in all panels, so that a name means the same everywhere.
func Panels(runs []Run) (panels []Panel) {
	lines := map[string][][2]int{} // panel and line, by digest of its runs
	for _, r := range runs {
		i := slices.IndexFunc(panels, func(p Panel) bool { return p.Dataset == r.Summary.Dataset && p.Model == r.Summary.Model })
		if i < 0 {
			i = len(panels)
			panels = append(panels, Panel{Dataset: r.Summary.Dataset, Model: r.Summary.Model})
		}
		p := &panels[i]
		key := digest(r)
		n := slices.IndexFunc(lines[key], func(at [2]int) bool { return at[0] == i && alike(p.Lines[at[1]].Runs[0], r) })
		if n < 0 {
			n = len(lines[key])
			lines[key] = append(lines[key], [2]int{i, len(p.Lines)})
			p.Lines = append(p.Lines, Line{})
		}
		j := lines[key][n][1]
		p.Lines[j].Runs = append(p.Lines[j].Runs, r)
	}
	telling := map[string][]string{} // keys, of a method
	for i := range panels {
		for _, l := range panels[i].Lines {
			telling[l.method()] = nil
		}
	}
	for method := range telling {
		telling[method] = tellingKeys(panels, method)
	}
	for i := range panels {
		lines := panels[i].Lines
		for j := range lines {
			lines[j].name(telling[lines[j].method()])
		}
		slices.SortStableFunc(lines, func(a, b Line) int {
			if c := cmp.Or(cmp.Compare(place(a.method()), place(b.method())), strings.Compare(a.method(), b.method())); c != 0 {
				return c
			}
			return compareTerms(a.Terms, b.Terms)
		})
	}
	slices.SortStableFunc(panels, func(a, b Panel) int {
		return cmp.Or(strings.Compare(a.Dataset, b.Dataset), cmp.Compare(a.parameters(), b.parameters()))
	})
	return panels
}

func (l Line) method() string { return l.Runs[0].Config.Method }

// place of a method among the lines of a panel: the baseline and the default method come first.
func place(name string) int {
	if i := slices.Index([]string{method.Baseline().Name, method.Default().Name}, name); i >= 0 {
		return i
	}
	return 2
}

// name gives the line its name.
func (l *Line) name(telling []string) {
	l.Terms, l.Name = nil, l.method()
	for _, key := range telling {
		term := Setting{key, setting(l.Runs[0], key)}
		l.Terms = append(l.Terms, term)
		l.Name += " " + term.String()
	}
}

// compareTerms compares values as numbers where they are.
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

// tellingKeys are the keys, in order, each of which tells lines of the method apart that those before it do not.
func tellingKeys(panels []Panel, method string) (telling []string) {
	var classes [][]Line // not told apart so far
	var first *Run
	differ := map[string]bool{ranksKey: true} // keys; to compare the others costs most of the time
	for i, p := range panels {
		classes = append(classes, nil)
		for _, l := range p.Lines {
			if l.method() != method {
				continue
			}
			classes[i] = append(classes[i], l)
			if first == nil {
				first = &l.Runs[0]
			}
			for _, key := range config.Differences(first.Config, l.Runs[0].Config) {
				differ[key] = true
			}
		}
	}
	for _, key := range keys {
		if !differ[key] {
			continue
		}
		var finer [][]Line
		for _, class := range classes {
			values := map[string]int{}
			for _, l := range class {
				v := setting(l.Runs[0], key)
				if _, ok := values[v]; !ok {
					values[v] = len(finer)
					finer = append(finer, nil)
				}
				finer[values[v]] = append(finer[values[v]], l)
			}
		}
		classes = slices.DeleteFunc(classes, func(c []Line) bool { return len(c) == 0 })
		if len(finer) > len(classes) {
			telling = append(telling, key)
		}
		classes = finer
	}
	return telling
}

// Setup words what the runs of all lines have in common.
func (p Panel) Setup() string {
	var all []Run
	for _, l := range p.Lines {
		all = append(all, l.Runs...)
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
	add("A step: %v images, of all ranks and heads together.", func(r Run) any { return r.Summary.Images / int64(r.Summary.Steps) })
	add("Schedule: %v.", func(r Run) any { return r.Config.Schedule.Kind })
	add("Warm-up: %v steps.", func(r Run) any { return r.Config.Schedule.Warmup })
	add("Optimizer: %v.", func(r Run) any { return r.Config.Optimizer.Name })
	add("Weight decay: %v.", func(r Run) any { return r.Config.Optimizer.WeightDecay })
	add("Precision: %v.", func(r Run) any { return r.Config.Compute.DType })
	return strings.Join(parts, " ")
}
