package experiment

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"lte/collective"
	"lte/config"
	"lte/internal/file"
)

// Rates is a search for the peak learning rate of a configuration, optimizer.lr, on validation images: its own rate, then larger and
// smaller ones by a constant factor, until the best one has a worse one on both sides.
type Rates struct {
	Config  config.Config // of all runs, but for rate, run directory and seed
	Out     string        // folder of the runs and of rates.csv
	Factor  float64       // between neighbouring rates
	Seeds   int           // runs of each rate, seeds Config.Seed and following, of which the mean counts
	Longest int           // largest number of rates
}

// validation is the fraction of the training images on which rates are compared where the configuration says none.
const validation = 0.1

// ErrDiverged is in the error of a run whose loss or gradient was not finite.
var ErrDiverged = errors.New("the rate is too large")

// Largest values of Rates.
const (
	maxFactor = 1000
	maxRates  = 100
)

// Prepare checks the search and completes its configuration, for that many ranks. Every error is a *config.Error.
func (s *Rates) Prepare(ranks int) error {
	if !(s.Factor > 1 && s.Factor <= maxFactor) {
		return wrong("--factor must be above 1 and at most %d, not %g", maxFactor, s.Factor)
	}
	if err := checkCount("seeds", s.Seeds, maxSeeds); err != nil {
		return err
	}
	if err := checkCount("longest", s.Longest, maxRates); err != nil {
		return err
	}
	if s.Config.Data.Validate == 0 {
		s.Config.Data.Validate = validation
	}
	c := s.Config
	return c.Resolve(ranks) // each run by itself: what follows from the rate is to follow from its own
}

// tried is what is known of a rate.
type tried struct {
	rate, top1 float64 // the mean top-1 over seeds; 0 where a run diverged
	runs       []row
}

// row is a line of rates.csv.
type row struct {
	seed       uint64
	top1, loss float64
	dir        string
	diverged   bool
}

// Search trains the runs that are missing, after Prepare, and returns the best rate and its top-1 on the validation images. All ranks of the group call it, as
// Train. rates.csv has every run.
func (s Rates) Search(g collective.Group, train func(config.Config) error, printf func(format string, args ...any)) (rate, top1 float64, err error) {
	var all []tried
	best, err := climb(s.Longest, func(steps int) (float64, error) {
		one, err := s.try(g, s.rate(steps), train, printf)
		if err != nil {
			return 0, err
		}
		all = append(all, one)
		if g.Rank() == 0 {
			err = s.write(all)
		}
		return one.top1, collective.Agree(g, err)
	})
	if err != nil {
		return 0, 0, err
	}
	rate = s.rate(best)
	i := slices.IndexFunc(all, func(t tried) bool { return t.rate == rate })
	return rate, all[i].top1, nil
}

// climb returns the number whose score is the largest among its neighbours, or of at most that many numbers; it begins at 0.
func climb(most int, score func(n int) (float64, error)) (best int, err error) {
	scores := map[int]float64{}
	for next := 0; ; {
		x, err := score(next)
		if err != nil {
			return 0, err
		}
		if scores[next] = x; x > scores[best] {
			best = next
		}
		_, above := scores[best+1]
		_, below := scores[best-1]
		switch {
		case len(scores) == most || above && below:
			return best, nil
		case above:
			next = best - 1
		default:
			next = best + 1
		}
	}
}

// rate is the rate so many factors above the configuration's, in two digits, as it is reported and repeated.
func (s Rates) rate(steps int) float64 {
	rate := s.Config.Optimizer.LR
	for range steps {
		rate *= s.Factor
	}
	for range -steps {
		rate /= s.Factor
	}
	if steps == 0 {
		return rate
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(rate, 'e', 1, 64), 64) // of what was just formatted
	return rounded
}

// try trains the runs of a rate.
func (s Rates) try(g collective.Group, rate float64, train func(config.Config) error, printf func(format string, args ...any)) (tried, error) {
	t := tried{rate: rate}
	for i := range s.Seeds {
		c := s.Config
		c.Optimizer.LR, c.Seed = rate, s.Config.Seed+uint64(i)
		c.Schedule.MinLR = min(c.Schedule.MinLR, rate)
		name := fmt.Sprintf("lr-%g-%d", rate, c.Seed)
		c.Run.Dir = filepath.Join(s.Out, name)
		if err := c.Resolve(g.Size()); err != nil {
			return t, err
		}
		r := row{seed: c.Seed, dir: name}
		found, err := Run{Variant: name, Config: c, Ranks: g.Size(), Wanted: true}.train(g, name, train, printf)
		if errors.Is(err, ErrDiverged) {
			printf("%v", err)
			r.diverged = true
		} else if err != nil {
			return t, err
		}
		if found != nil { // on rank 0
			r.top1, r.loss = found.Summary.TestTop1, found.Summary.TestLoss
		}
		sums := []float64{r.top1}
		if err := collective.Sum(g, sums); err != nil {
			return t, err
		}
		t.top1 += sums[0] / float64(s.Seeds)
		t.runs = append(t.runs, r)
	}
	return t, nil
}

// write writes rates.csv: a line for every run.
func (s Rates) write(all []tried) error {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	lines := [][]string{{"lr", "seed", "validation_top1", "validation_loss", "diverged", "run"}}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	for _, t := range all {
		for _, r := range t.runs {
			lines = append(lines, []string{number(t.rate), strconv.FormatUint(r.seed, 10), number(r.top1), number(r.loss), strconv.FormatBool(r.diverged), r.dir})
		}
	}
	if err := w.WriteAll(lines); err != nil {
		return fmt.Errorf("experiment: writing rates.csv: %w", err)
	}
	if err := file.WriteBytes(filepath.Join(s.Out, "rates.csv"), text.Bytes()); err != nil {
		return fmt.Errorf("experiment: cannot write rates.csv: %w", err)
	}
	return nil
}
