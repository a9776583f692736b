package experiment

import (
	"fmt"
	"math"
	"strings"

	"lte/compare"
)

// Outcome is what became of an observation.
type Outcome string

// The outcomes.
const (
	Confirmed    Outcome = "confirmed"
	NotConfirmed Outcome = "not confirmed"
	NotMeasured  Outcome = "not measured" // a run that it speaks of is missing
)

// Verdict is on one observation, or on a part of one.
type Verdict struct {
	Observation string // "1", "4a"
	Claim       string
	Criterion   string
	Outcome     Outcome
	Found       string // the numbers
}

// nearlyOrthogonal bounds the mean |cosine| of two heads' updates.
const nearlyOrthogonal = 0.1

// point is the least difference of accuracies that counts.
const point = 0.01

// Judge holds the lines against the observations (the paper's sections 3 and 4), with that many test
// images. Accuracies count as equal within a margin: one point, or twice the standard error of full's accuracy,
// √(p(1−p)/images/seeds), whichever is more.
func Judge(all []compare.Line, testImages int) []Verdict {
	j := judge{lines: map[string]compare.Line{}}
	for _, l := range all {
		j.lines[l.Name] = l
	}
	if full, ok := j.lines[fullLine]; ok {
		p := full.Mean(compare.Top1)
		j.margin = max(point, 2*math.Sqrt(p*(1-p)/float64(testImages)/float64(len(full.Runs))))
	}
	return []Verdict{
		j.verdict("1", "LoRA alone falls short of full pre-training; a larger rank, or more heads, closes the gap",
			"`full` − `lora` above the margin, and both `lora-large` and `mhlora` above `lora` by more than the margin",
			[]string{fullLine, loraLine, largeLine, mhloraLine}, j.loraFallsShort),
		j.verdict("2", "the effective rank of the gradients grows over training",
			"`gradient_rank` of `full`: the last record's above that of the first after the warm-up",
			[]string{fullLine}, j.rankGrows),
		j.verdict("3", "sequential merging does not reach full pre-training",
			"`full` − `sequential` above the margin", []string{fullLine, sequentialLine}, j.short(sequentialLine)),
		j.verdict("4a", "parallel merging reaches full pre-training, merging every step",
			"`full` − `lte-k1` at most the margin, at equal images", []string{fullLine, everyStepLine}, j.reaches(everyStepLine)),
		j.verdict("4b", "parallel merging reaches full pre-training, merging every K steps",
			"`full` − `lte` at most the margin, at equal images", []string{fullLine, lteLine}, j.reaches(lteLine)),
		j.verdict("4c", "parallel merging every K steps reaches full pre-training with about 40 % more images",
			"`full` − `lte-more` at most the margin", []string{fullLine, moreLine}, j.reaches(moreLine)),
		j.verdict("5", "heads stay nearly orthogonal to one another all through training",
			fmt.Sprintf("`alignment` of `lte-k1` and `lte` below %g at every record", nearlyOrthogonal),
			[]string{everyStepLine, lteLine}, j.orthogonal),
	}
}

type judge struct {
	lines  map[string]compare.Line
	margin float64
}

// verdict asks for the outcome if there are runs of all the lines.
func (j judge) verdict(observation, claim, criterion string, needs []string, outcome func() (bool, string)) Verdict {
	v := Verdict{Observation: observation, Claim: claim, Criterion: criterion, Outcome: NotMeasured}
	var missing []string
	for _, name := range needs {
		if _, ok := j.lines[name]; !ok {
			missing = append(missing, "`"+name+"`")
		}
	}
	if missing != nil {
		v.Found = "without " + strings.Join(missing, ", ")
		return v
	}
	v.Outcome = NotConfirmed
	ok, found := outcome()
	if v.Found = found; ok {
		v.Outcome = Confirmed
	}
	return v
}

func (j judge) top1(name string) float64 { return j.lines[name].Mean(compare.Top1) }

// gap is how far a line is below full.
func (j judge) gap(name string) float64 { return j.top1(fullLine) - j.top1(name) }

func (j judge) loraFallsShort() (bool, string) {
	lora, large, heads := j.top1(loraLine), j.top1(largeLine), j.top1(mhloraLine)
	ok := j.gap(loraLine) > j.margin && large-lora > j.margin && heads-lora > j.margin
	return ok, fmt.Sprintf("full %s, lora %s, lora-large %s, mhlora %s; margin %.1f", points(j.top1(fullLine)), points(lora),
		points(large), points(heads), 100*j.margin)
}

func (j judge) rankGrows() (bool, string) {
	full := j.lines[fullLine]
	from, to := full.Mean(compare.First(compare.GradientRank)), full.Mean(compare.Last(compare.GradientRank))
	most := full.Mean(compare.Largest(compare.GradientRank))
	return to > from, fmt.Sprintf("%.1f → %.1f, at most %.1f", from, to, most)
}

func (j judge) short(name string) func() (bool, string) {
	return func() (bool, string) { return j.gap(name) > j.margin, j.beside(name) }
}

func (j judge) reaches(name string) func() (bool, string) {
	return func() (bool, string) {
		found := j.beside(name)
		l, full := j.lines[name], j.lines[fullLine]
		if at := full.Mean(compare.Reached(l.Mean(compare.Top1))); !math.IsNaN(at) {
			images := l.Mean(compare.Images)
			found += fmt.Sprintf("; full was there after %.0f images, %s took %.0f %% more", at, name, 100*(images/at-1))
		}
		return j.gap(name) <= j.margin, found
	}
}

func (j judge) orthogonal() (bool, string) {
	ok, found := true, []string{}
	for _, name := range []string{everyStepLine, lteLine} {
		most := math.NaN()
		for _, r := range j.lines[name].Runs {
			if x := compare.Largest(compare.Alignment)(r); !(x <= most) {
				most = x
			}
		}
		ok = ok && most < nearlyOrthogonal // NaN: no
		found = append(found, fmt.Sprintf("%s at most %.3f", name, most))
	}
	return ok, strings.Join(found, ", ")
}

// beside words a line's accuracy beside full's.
func (j judge) beside(name string) string {
	return fmt.Sprintf("full %s, %s %s: %+.1f points; margin %.1f", points(j.top1(fullLine)), name, points(j.top1(name)),
		-100*j.gap(name), 100*j.margin)
}

func points(fraction float64) string { return fmt.Sprintf("%.1f %%", 100*fraction) }
