package compare

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is a table of text. Its first column names what the row is about.
type Table struct {
	Title string
	Note  string
	Head  []string
	Rows  [][]string
}

// Markdown writes the table without its title.
func (t Table) Markdown() string {
	var b strings.Builder
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(t.Head)
	row(strings.Split(strings.Repeat("---,", len(t.Head)-1)+"---", ","))
	for _, cells := range t.Rows {
		row(append([]string{"`" + cells[0] + "`"}, cells[1:]...))
	}
	return b.String()
}

// without returns the table without a column.
func (t Table) without(column int) Table {
	t.Head = slices.Delete(t.Head, column, column+1)
	for i := range t.Rows {
		t.Rows[i] = slices.Delete(t.Rows[i], column, column+1)
	}
	return t
}

// Numbers says of each column whether it holds numbers.
func (t Table) Numbers() []bool {
	all := make([]bool, len(t.Head))
	for i := range all {
		all[i] = i > 0 && !slices.ContainsFunc(t.Rows, func(row []string) bool {
			return row[i] != none && strings.IndexAny(row[i], "+−0123456789") != 0
		})
	}
	return all
}

// none stands for a number that was not measured.
const none = "-"

// of words the line's mean of a number, with the spread of several seeds.
func (l Line) of(number func(Run) float64, format func(float64) string) string {
	mean, spread := l.Over(number)
	switch {
	case math.IsNaN(mean):
		return none
	case len(l.Runs) > 1:
		return format(mean) + " ± " + format(spread)
	}
	return format(mean)
}

// about words what the line is.
func (l Line) about() string {
	c := l.Runs[0].Config
	return strings.NewReplacer("{r}", strconv.Itoa(c.LoRA.Rank), "{N}", strconv.Itoa(c.LoRA.Heads),
		"{K}", strconv.Itoa(c.Merge.Every)).Replace(l.About)
}

func points(f float64) string { return digits(1)(100 * f) }

// Tables are what the panel's lines came to, what they cost, and what was measured on the way.
func (p Panel) Tables() []Table {
	accuracy := Table{Title: "Accuracy",
		Note: "Top-1 of the final merged weights on the test split" + spreads(p.Lines) + "; the gap to full in points. Images to reach full: " +
			"when a run's own curve came to full's final accuracy, and how many more that is than full saw. Full was there after: when " +
			"full's curve had come to where this line ended, and how many more this line took. A curve is straight between two evaluations " +
			"and begins with the first.",
		Head: []string{"run", "what", "seeds", "learning rate", "images", "top-1, %", "gap to full", "test loss", "images to reach full", "full was there after"}}
	cost := Table{Title: "Cost", Note: "Sent by rank 0 for all purposes; memory is the largest resident set of rank 0.",
		Head: []string{"run", "time", "images/s", "sent by a rank", "of full's", "peak memory"}}
	measured := Table{Title: "Measured on the way", Note: "Effective rank of the gradients: at the first record after the warm-up, and at the " +
		"last; of W − W⁰ at the end. Alignment: the largest mean |cosine| of two heads' updates; Grassmann: the last mean distance of " +
		"their row spans, 1 where they are orthogonal.",
		Head: []string{"run", "gradient rank", "update rank", "alignment", "Grassmann"}}
	full := p.full()
	for _, l := range p.Lines {
		gap, to, there, part := none, none, none, none
		if full != nil && l.Name != full.Name {
			gap = signed(digits(1))(100 * (l.Mean(Top1) - full.Mean(Top1)))
			to = "not reached"
			if at, part := l.came(full.Mean(Top1)); !math.IsNaN(at) {
				to = whole(at) + more(at, full.Mean(Images)) + part
			}
			if at, part := full.came(l.Mean(Top1)); !math.IsNaN(at) {
				there = whole(at) + more(l.Mean(Images), at) + part
			}
			if sends := full.Mean(sent); sends > 0 {
				part = fmt.Sprintf("%.3g %%", 100*l.Mean(sent)/sends)
			}
		}
		accuracy.Rows = append(accuracy.Rows, []string{l.Name, l.about(), strconv.Itoa(l.seeds()), plain(l.Runs[0].Config.Optimizer.LR),
			whole(l.Mean(Images)), l.of(Top1, points), gap,
			l.of(func(r Run) float64 { return r.Summary.TestLoss }, digits(3)), to, there})
		cost.Rows = append(cost.Rows, []string{l.Name, l.of(spent, clock), l.of(rate, whole), bytes(l.Mean(sent)), part, l.of(memory, bytes)})
		ranks := l.of(First(GradientRank), digits(1))
		if ranks != none {
			ranks += " → " + l.of(Last(GradientRank), digits(1))
			measured.Rows = append(measured.Rows, []string{l.Name, ranks, l.of(Last(UpdateRank), digits(1)),
				l.of(Largest(Alignment), digits(3)), l.of(Last(Grassmann), digits(2))})
		}
	}
	if !slices.ContainsFunc(p.Lines, func(l Line) bool { return l.About != "" }) {
		accuracy = accuracy.without(1)
	}
	tables := []Table{accuracy, cost}
	if measured.Rows != nil {
		tables = append(tables, measured)
	}
	return tables
}

// spreads says what ± is, where it is.
func spreads(lines []Line) string {
	for _, l := range lines {
		if len(l.Runs) > 1 {
			return ", ± the standard deviation over the seeds"
		}
	}
	return ""
}

// came returns how many images the line's runs had seen when they came to an accuracy, the mean of those that did, and words how many
// did where not all.
func (l Line) came(accuracy float64) (images float64, part string) {
	reached, did := Reached(accuracy), 0
	for _, r := range l.Runs {
		if !math.IsNaN(reached(r)) {
			did++
		}
	}
	if did < len(l.Runs) {
		part = fmt.Sprintf(", %d of %d runs", did, len(l.Runs))
	}
	return l.Mean(reached), part
}

// seeds counts those of the line's runs, a run made twice once.
func (l Line) seeds() int {
	all := map[uint64]bool{}
	for _, r := range l.Runs {
		all[r.Summary.Seed] = true
	}
	return len(all)
}

func signed(format func(float64) string) func(float64) string {
	return func(x float64) string {
		if x > 0 {
			return "+" + format(x)
		}
		return format(x)
	}
}

// more words x beside from; nothing where from is 0.
func more(x, from float64) string {
	if from == 0 {
		return ""
	}
	return " (" + signed(digits(0))(100*(x/from-1)) + " %)"
}

// overview is the final accuracy of every line in every panel; nothing of a single panel.
func overview(panels []Panel) []Table {
	if len(panels) < 2 {
		return nil
	}
	t := Table{Title: "Final accuracy", Note: "Top-1 on the test split, %" + spreads(allLines(panels)) + ".", Head: append([]string{"data, model", "parameters"}, names(panels)...)}
	for _, p := range panels {
		row := []string{p.name(panels), whole(p.parameters())}
		for _, name := range t.Head[2:] {
			cell := none
			for _, l := range p.Lines {
				if l.Name == name {
					cell = l.of(Top1, points)
				}
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return []Table{t}
}

// name is the panel's among others: its model, or its data set too where there are several.
func (p Panel) name(among []Panel) string {
	for _, other := range among {
		if other.Dataset != p.Dataset {
			return p.Dataset + ", " + p.Model
		}
	}
	return p.Model
}

func allLines(panels []Panel) (all []Line) {
	for _, p := range panels {
		all = append(all, p.Lines...)
	}
	return all
}

// names are those of all lines, in the order in which they come first.
func names(panels []Panel) (all []string) {
	seen := map[string]bool{}
	for _, l := range allLines(panels) {
		if !seen[l.Name] {
			seen[l.Name] = true
			all = append(all, l.Name)
		}
	}
	return all
}
