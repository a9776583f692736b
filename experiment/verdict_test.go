package experiment

import (
	"strings"
	"testing"
	"time"

	"lte/compare"
	"lte/config"
	"lte/record"
)

var now = time.Unix(1.7e9, 0)

// made returns a finished run of a variant, with one record for each rank and alignment.
func made(line string, accuracy float64, ranks, alignments []float64) Result {
	c := config.Default()
	c.Schedule.Warmup = 2
	r := Result{Variant: line, Run: compare.Run{Config: c, Summary: record.Summary{TestTop1: accuracy, Images: 1000, Steps: 10}}}
	for i := range ranks {
		top1 := accuracy * float64(i+1) / float64(len(ranks))
		record := record.Record{Step: 2*i + 1, Images: int64(1000 * (i + 1) / len(ranks)), TestTop1: &top1, GradientRank: &ranks[i]}
		if alignments != nil {
			record.Alignment = &alignments[i]
		}
		r.Records = append(r.Records, record)
	}
	return r
}

// asPublished returns runs with the outcome of the paper.
func asPublished() map[string]Result {
	grows, low := []float64{40, 10, 15, 20}, []float64{0.09, 0.02, 0.01, 0.01} // the first is before the end of the warm-up
	runs := map[string]Result{}
	for name, accuracy := range map[string]float64{"full": 0.6, "lora": 0.5, "lora-large": 0.55, "mhlora": 0.56,
		"sequential": 0.55, "lte-k1": 0.595, "lte": 0.591, "lte-more": 0.6} {
		runs[name] = made(name, accuracy, grows, low)
	}
	return runs
}

func verdicts(runs map[string]Result) map[string]Verdict {
	var results []Result
	for _, r := range runs {
		results = append(results, r)
	}
	found := map[string]Verdict{}
	for _, v := range Judge(Variants(results), 1e6) {
		found[v.Observation] = v
	}
	return found
}

// Fails if a criterion cannot fail, or does not fail alone.
func TestJudge(t *testing.T) {
	for o, v := range verdicts(asPublished()) {
		if v.Outcome != Confirmed {
			t.Errorf("%s: %s, %s", o, v.Outcome, v.Found)
		}
	}
	down := []float64{5, 20, 15, 10}
	for _, c := range []struct {
		name, fails string
		run         Result
	}{
		{"lora reaches full", "1", made("lora", 0.595, down, nil)},
		{"a larger rank does not help", "1", made("lora-large", 0.505, down, nil)},
		{"more heads do not help", "1", made("mhlora", 0.49, down, nil)},
		{"ranks shrink", "2", made("full", 0.6, down, nil)},
		{"sequential reaches full", "3", made("sequential", 0.591, down, nil)},
		{"every step falls short", "4a", made("lte-k1", 0.58, down, []float64{0, 0, 0, 0})},
		{"K steps fall short", "4b", made("lte", 0.58, down, []float64{0, 0, 0, 0})},
		{"more images fall short", "4c", made("lte-more", 0.58, down, nil)},
		{"heads align in the middle", "5", made("lte", 0.6, down, []float64{0, 0.2, 0, 0})},
		{"heads were not compared", "5", made("lte", 0.6, down, nil)},
	} {
		runs := asPublished()
		runs[c.run.Variant] = c.run
		for o, v := range verdicts(runs) {
			if want := map[bool]Outcome{true: NotConfirmed, false: Confirmed}[o == c.fails]; v.Outcome != want {
				t.Errorf("%s: observation %s is %s: %s", c.name, o, v.Outcome, v.Found)
			}
		}
	}
	runs := asPublished()
	delete(runs, "sequential")
	if v := verdicts(runs)["3"]; v.Outcome != NotMeasured || v.Found != "no run of `sequential`" {
		t.Errorf("%+v", v)
	}
	for o, v := range verdicts(nil) {
		if v.Outcome != NotMeasured {
			t.Errorf("of nothing, %s is %s", o, v.Outcome)
		}
	}
}

// The margin is twice the standard error if that is more than a point: √(0.25/100)·2 = 10 points.
func TestMargin(t *testing.T) {
	all := Variants([]Result{made("full", 0.5, nil, nil), made("sequential", 0.41, nil, nil)})
	if v := Judge(all, 100)[2]; v.Outcome != NotConfirmed || !strings.Contains(v.Found, "-9.0 points; margin 10.0") {
		t.Errorf("%+v", v)
	}
	if v := Judge(all, 1000)[2]; v.Outcome != Confirmed {
		t.Errorf("%+v", v)
	}
}

func TestVariants(t *testing.T) {
	l := Variants([]Result{made("lte", 0.3, []float64{1}, nil), made("lora", 0.1, nil, nil), made("lte", 0.5, nil, nil)})
	if len(l) != 2 || l[0].Name != "lora" || len(l[1].Runs) != 2 {
		t.Fatalf("%+v", l)
	}
}
