package compare

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is a table of text. The first column names the row.
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

// Numbers reports for each column whether it holds numbers.
func (t Table) Numbers() []bool {
	all := make([]bool, len(t.Head))
	for i := range all {
		all[i] = i > 0 && !slices.ContainsFunc(t.Rows, func(row []string) bool {
			return row[i] != none && strings.IndexAny(row[i], "+−0123456789") != 0
		})
	}
	return all
}

// none stands for a missing number.
const none = "-"

// text formats the mean of a number, with the standard deviation if there are several runs.
func (v Variant) text(number func(Run) float64, format func(float64) string) string {
	mean, std := v.MeanStd(number)
	switch {
	case math.IsNaN(mean):
		return none
	case len(v.Runs) > 1:
		return format(mean) + " ± " + format(std)
	}
	return format(mean)
}

// about returns the description of the variant.
func (v Variant) about() string {
	c := v.Runs[0].Config
	return strings.NewReplacer("{r}", strconv.Itoa(c.LoRA.Rank), "{N}", strconv.Itoa(c.LoRA.Heads),
		"{K}", strconv.Itoa(c.Merge.Every)).Replace(v.About)
}

// Tables returns the accuracy of the variants, their cost, and what was measured during training.
func (p Panel) Tables() []Table {
	tables := []Table{p.accuracy(), p.cost()}
	if measured := p.measured(); measured.Rows != nil {
		tables = append(tables, measured)
	}
	return tables
}

func (p Panel) accuracy() Table {
	t := Table{Title: "Accuracy",
		Note: "Top-1 of the final merged weights on the test split" + deviation(p.Variants) + "; gap to full in points. Images to reach full: " +
			"images seen when the run reached the final accuracy of full, and how many more than full saw in all. Images of full: images that " +
			"full had seen when it reached the final accuracy of this run, and how many more this run saw. Accuracy is interpolated linearly " +
			"between evaluations.",
		Head: []string{"run", "description", "seeds", "learning rate", "images", "top-1, %", "gap to full", "test loss", "images to reach full", "images of full"}}
	full := p.baseline()
	for _, v := range p.Variants {
		gap, toFull, ofFull := none, none, none
		if full != nil && v.Name != full.Name {
			gap = signed(digits(1))(100 * (v.Mean(Top1) - full.Mean(Top1)))
			toFull = "not reached"
			if images, some := v.imagesToReach(full.Mean(Top1)); !math.IsNaN(images) {
				toFull = whole(images) + more(images, full.Mean(Images)) + some
			}
			if images, some := full.imagesToReach(v.Mean(Top1)); !math.IsNaN(images) {
				ofFull = whole(images) + more(v.Mean(Images), images) + some
			}
		}
		t.Rows = append(t.Rows, []string{v.Name, v.about(), strconv.Itoa(v.seeds()), plain(v.Runs[0].Config.Optimizer.LR), whole(v.Mean(Images)),
			v.text(Top1, points), gap, v.text(func(r Run) float64 { return r.Summary.TestLoss }, digits(3)), toFull, ofFull})
	}
	if !slices.ContainsFunc(p.Variants, func(v Variant) bool { return v.About != "" }) {
		return t.without(1)
	}
	return t
}

func (p Panel) cost() Table {
	t := Table{Title: "Cost", Note: "Bytes sent by rank 0 for all purposes; peak memory is the largest resident set size of rank 0.",
		Head: []string{"run", "time", "images/s", "sent per rank", "relative to full", "peak memory"}}
	full := p.baseline()
	for _, v := range p.Variants {
		share := none
		if full != nil && v.Name != full.Name && full.Mean(sent) > 0 {
			share = fmt.Sprintf("%.3g %%", 100*v.Mean(sent)/full.Mean(sent))
		}
		t.Rows = append(t.Rows, []string{v.Name, v.text(wall, clock), v.text(rate, whole), bytes(v.Mean(sent)), share, v.text(memory, bytes)})
	}
	return t
}

// measured has rows for the variants whose gradients were measured.
func (p Panel) measured() Table {
	t := Table{Title: "Measured during training", Note: "Gradient rank: effective rank of the gradients at the first record after the warm-up, and at " +
		"the last; update rank: of W − W⁰ at the end. Alignment: largest mean |cosine| between the updates of two heads; Grassmann: last mean " +
		"distance between their row spaces, 1 if orthogonal.",
		Head: []string{"run", "gradient rank", "update rank", "alignment", "Grassmann"}}
	for _, v := range p.Variants {
		if ranks := v.text(First(GradientRank), digits(1)); ranks != none {
			t.Rows = append(t.Rows, []string{v.Name, ranks + " → " + v.text(Last(GradientRank), digits(1)), v.text(Last(UpdateRank), digits(1)),
				v.text(Largest(Alignment), digits(3)), v.text(Last(Grassmann), digits(2))})
		}
	}
	return t
}

// deviation explains ±, if it is used.
func deviation(variants []Variant) string {
	if slices.ContainsFunc(variants, func(v Variant) bool { return len(v.Runs) > 1 }) {
		return ", ± the standard deviation over seeds"
	}
	return ""
}

// imagesToReach returns the mean number of images that runs took to reach an accuracy, NaN if none did; some says how many did, if not all.
func (v Variant) imagesToReach(accuracy float64) (images float64, some string) {
	reached := v.values(Reached(accuracy))
	if len(reached) < len(v.Runs) {
		some = fmt.Sprintf(", %d of %d runs", len(reached), len(v.Runs))
	}
	images, _ = meanStd(reached)
	return images, some
}

// seeds counts distinct seeds.
func (v Variant) seeds() int {
	all := map[uint64]bool{}
	for _, r := range v.Runs {
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

// more formats how much larger x is than from, nothing if from is 0.
func more(x, from float64) string {
	if from == 0 {
		return ""
	}
	return " (" + signed(digits(0))(100*(x/from-1)) + " %)"
}

// overview compares the final accuracy of every variant across panels; there is none for a single panel.
func overview(panels []Panel) []Table {
	if len(panels) < 2 {
		return nil
	}
	t := Table{Title: "Final accuracy", Note: "Top-1 on the test split, %" + deviation(allVariants(panels)) + ".", Head: append([]string{"data, model", "parameters"}, names(panels)...)}
	for _, p := range panels {
		row := []string{p.name(panels), whole(p.parameters())}
		for _, name := range t.Head[2:] {
			cell := none
			for _, v := range p.Variants {
				if v.Name == name {
					cell = v.text(Top1, points)
				}
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return []Table{t}
}

// name returns the model of the panel, after its data set if there are several among the panels.
func (p Panel) name(among []Panel) string {
	if slices.ContainsFunc(among, func(other Panel) bool { return other.Dataset != p.Dataset }) {
		return p.Dataset + ", " + p.Model
	}
	return p.Model
}

func allVariants(panels []Panel) (all []Variant) {
	for _, p := range panels {
		all = append(all, p.Variants...)
	}
	return all
}

// names returns the distinct names of all variants in order of appearance.
func names(panels []Panel) (all []string) {
	for _, v := range allVariants(panels) {
		if !slices.Contains(all, v.Name) {
			all = append(all, v.Name)
		}
	}
	return all
}
