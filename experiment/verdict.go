package experiment

import (
	"fmt"
	"math"
	"strings"

	"lte/compare"
)

// Outcome is the outcome of a verdict.
type Outcome string

const (
	Confirmed    Outcome = "confirmed"
	NotConfirmed Outcome = "not confirmed"
	NotMeasured  Outcome = "not measured" // a run is missing
)

// Verdict judges one observation, or a part of one.
type Verdict struct {
	Observation string // "1", "4a"
	Claim       string
	Criterion   string
	Outcome     Outcome
	Found       string // the numbers
}

const (
	nearlyOrthogonal = 0.1  // bound of the mean |cosine| between the updates of two heads
	minMargin        = 0.01 // one point of accuracy
)

// Judge judges the observations (sections 3 and 4 of the paper). Accuracies count as equal within a margin: one point, or twice the
// standard error of full's accuracy p, √(p(1−p)/testImages/seeds), if that is more.
func Judge(all []compare.Variant, testImages int) []Verdict {
	j := judge{variants: map[string]compare.Variant{}}
	for _, v := range all {
		j.variants[v.Name] = v
	}
	if full, ok := j.variants[fullVariant]; ok {
		p := full.Mean(compare.Top1)
		j.margin = max(minMargin, 2*math.Sqrt(p*(1-p)/float64(testImages)/float64(len(full.Runs))))
	}
	return []Verdict{
		j.verdict("1", "LoRA alone falls short of full pre-training; a larger rank, or more heads, closes the gap",
			"`full` − `lora` above the margin, and both `lora-large` and `mhlora` above `lora` by more than the margin",
			[]string{fullVariant, loraVariant, loraLargeVariant, mhloraVariant}, j.loraFallsShort),
		j.verdict("2", "the effective rank of the gradients grows over training",
			"`gradient_rank` of `full`: the last record's above that of the first after the warm-up",
			[]string{fullVariant}, j.rankGrows),
		j.verdict("3", "sequential merging does not reach full pre-training",
			"`full` − `sequential` above the margin", []string{fullVariant, sequentialVariant}, j.fallsShort(sequentialVariant)),
		j.verdict("4a", "parallel merging reaches full pre-training, merging every step",
			"`full` − `lte-k1` at most the margin, at equal images", []string{fullVariant, everyStepVariant}, j.reaches(everyStepVariant)),
		j.verdict("4b", "parallel merging reaches full pre-training, merging every K steps",
			"`full` − `lte` at most the margin, at equal images", []string{fullVariant, lteVariant}, j.reaches(lteVariant)),
		j.verdict("4c", "parallel merging every K steps reaches full pre-training with about 40 % more images",
			"`full` − `lte-more` at most the margin", []string{fullVariant, lteMoreVariant}, j.reaches(lteMoreVariant)),
		j.verdict("5", "heads stay nearly orthogonal to one another all through training",
			fmt.Sprintf("`alignment` of `lte-k1` and `lte` below %g at every record", nearlyOrthogonal),
			[]string{everyStepVariant, lteVariant}, j.orthogonal),
	}
}

type judge struct {
	variants map[string]compare.Variant
	margin   float64 // within which accuracies count as equal
}

// verdict calls outcome if there are runs of all needed variants.
func (j judge) verdict(observation, claim, criterion string, needs []string, outcome func() (bool, string)) Verdict {
	v := Verdict{Observation: observation, Claim: claim, Criterion: criterion, Outcome: NotMeasured}
	var missing []string
	for _, name := range needs {
		if _, ok := j.variants[name]; !ok {
			missing = append(missing, "`"+name+"`")
		}
	}
	if missing != nil {
		v.Found = "no run of " + strings.Join(missing, ", ")
		return v
	}
	v.Outcome = NotConfirmed
	ok, found := outcome()
	if v.Found = found; ok {
		v.Outcome = Confirmed
	}
	return v
}

func (j judge) top1(name string) float64 { return j.variants[name].Mean(compare.Top1) }

// gap returns how far the accuracy of a variant is below full's.
func (j judge) gap(name string) float64 { return j.top1(fullVariant) - j.top1(name) }

func (j judge) loraFallsShort() (bool, string) {
	lora, large, heads := j.top1(loraVariant), j.top1(loraLargeVariant), j.top1(mhloraVariant)
	ok := j.gap(loraVariant) > j.margin && large-lora > j.margin && heads-lora > j.margin
	return ok, fmt.Sprintf("full %s, lora %s, lora-large %s, mhlora %s; margin %.1f", points(j.top1(fullVariant)), points(lora),
		points(large), points(heads), 100*j.margin)
}

func (j judge) rankGrows() (bool, string) {
	full := j.variants[fullVariant]
	from, to := full.Mean(compare.First(compare.GradientRank)), full.Mean(compare.Last(compare.GradientRank))
	most := full.Mean(compare.Largest(compare.GradientRank))
	return to > from, fmt.Sprintf("%.1f → %.1f, at most %.1f", from, to, most)
}

func (j judge) fallsShort(name string) func() (bool, string) {
	return func() (bool, string) { return j.gap(name) > j.margin, j.comparison(name) }
}

func (j judge) reaches(name string) func() (bool, string) {
	return func() (bool, string) {
		found := j.comparison(name)
		v, full := j.variants[name], j.variants[fullVariant]
		if at := full.Mean(compare.Reached(v.Mean(compare.Top1))); !math.IsNaN(at) {
			images := v.Mean(compare.Images)
			found += fmt.Sprintf("; full reached this after %.0f images, %s took %.0f %% more", at, name, 100*(images/at-1))
		}
		return j.gap(name) <= j.margin, found
	}
}

func (j judge) orthogonal() (bool, string) {
	ok, found := true, []string{}
	for _, name := range []string{everyStepVariant, lteVariant} {
		most := 0.0
		for _, r := range j.variants[name].Runs {
			most = max(most, compare.Largest(compare.Alignment)(r))
		}
		ok = ok && most < nearlyOrthogonal // false for NaN
		found = append(found, fmt.Sprintf("%s at most %.3f", name, most))
	}
	return ok, strings.Join(found, ", ")
}

// comparison describes the accuracies of full and of a variant.
func (j judge) comparison(name string) string {
	return fmt.Sprintf("full %s, %s %s: %+.1f points; margin %.1f", points(j.top1(fullVariant)), name, points(j.top1(name)),
		-100*j.gap(name), 100*j.margin)
}

func points(fraction float64) string { return fmt.Sprintf("%.1f %%", 100*fraction) }
