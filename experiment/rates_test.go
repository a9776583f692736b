package experiment

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/record"
	"lte/report"
)

// Fails if the search stops at a rate beyond which a better one was not tried, tries one twice or too many, or takes another than the best.
func TestClimbEndsAtTheTop(t *testing.T) {
	for _, c := range []struct {
		top, most int
		best      int
		tried     []int
	}{
		{0, 7, 0, []int{0, 1, -1}},
		{2, 7, 2, []int{0, 1, 2, 3}},
		{-2, 7, -2, []int{0, 1, -1, -2, -3}},
		{9, 4, 3, []int{0, 1, 2, 3}},
		{-9, 2, 0, []int{0, 1}},
	} {
		var tried []int
		best, err := climb(c.most, func(n int) (float64, error) {
			tried = append(tried, n)
			return 1 - 0.01*math.Abs(float64(n-c.top)), nil
		})
		if err != nil || best != c.best || !slices.Equal(tried, c.tried) {
			t.Errorf("top %d, at most %d: %d of %d, %v; want %d of %d", c.top, c.most, best, tried, err, c.best, c.tried)
		}
	}
	broken := errors.New("broken")
	if _, err := climb(7, func(int) (float64, error) { return 0, broken }); err != broken {
		t.Errorf("%v, want the error of a run", err)
	}
}

// finish leaves a finished run of that accuracy.
func finish(c config.Config, top1 float64) error {
	dir, err := report.CreateRunDir(c, "digits", now)
	if err != nil {
		return err
	}
	files, err := report.NewFiles(dir)
	if err != nil {
		return err
	}
	return errors.Join(files.Record(record.Record{Step: 1}), files.Close(), record.WriteSummary(dir, record.Summary{TestTop1: top1, Ranks: 1, Steps: 1}))
}

// accuracies trains nothing: a run's top-1 follows from its rate, and rates above 0.01 diverge.
type accuracies struct{ trained []string }

func (a *accuracies) train(t *testing.T) func(config.Config) error {
	return func(c config.Config) error {
		a.trained = append(a.trained, filepath.Base(c.Run.Dir))
		if c.Data.Validate != 0.1 {
			t.Errorf("data.validation_fraction = %v", c.Data.Validate)
		}
		if c.Optimizer.LR > 0.01 {
			return fmt.Errorf("%w: loss NaN", ErrDiverged)
		}
		top1 := 0.5 - 0.01*math.Abs(math.Log2(c.Optimizer.LR/4e-3)) + 1e-4*float64(c.Seed)
		return finish(c, top1)
	}
}

// Fails if a search does not climb to the best mean over seeds, counts a run that diverged as one, trains a finished run again, or has
// a file without one of the runs.
func TestRatesAreSearchedOnce(t *testing.T) {
	out := filepath.Join(t.TempDir(), "rates")
	c := config.Default()
	c.Optimizer.LR = 4e-3
	for again := range 2 {
		s := Rates{Config: c, Out: out, Factor: 4, Seeds: 2, Longest: 7}
		if err := s.Prepare(1); err != nil {
			t.Fatal(err)
		}
		a := accuracies{}
		rate, top1, err := s.Search(collective.Alone{}, a.train(t), func(string, ...any) {})
		if err != nil || rate != 4e-3 || math.Abs(top1-0.50015) > 1e-9 {
			t.Errorf("rate %v, top-1 %v, %v", rate, top1, err)
		}
		want := []string{"lr-0.004-1", "lr-0.004-2", "lr-0.016-1", "lr-0.016-2", "lr-0.001-1", "lr-0.001-2"}
		if again == 1 {
			want = want[2:4] // what diverged is no finished run
		}
		if !slices.Equal(a.trained, want) {
			t.Errorf("trained %q, want %q", a.trained, want)
		}
		text, err := os.ReadFile(filepath.Join(out, "rates.csv"))
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{"lr,seed,validation_top1,validation_loss,diverged,run",
			"0.004,1,0.5001,0,false,lr-0.004-1", "0.004,2,0.5002,0,false,lr-0.004-2",
			"0.016,1,0,0,true,lr-0.016-1", "0.016,2,0,0,true,lr-0.016-2",
			"0.001,1,0.4801,0,false,lr-0.001-1", "0.001,2,0.4802,0,false,lr-0.001-2"}
		if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, lines) {
			t.Errorf("rates.csv is %q, want %q", got, lines)
		}
	}
}

// Fails if a search that cannot be made is begun.
func TestImpossibleSearches(t *testing.T) {
	for want, s := range map[string]Rates{
		"--factor must be above 1":     {Factor: 1, Seeds: 1, Longest: 1},
		"--seeds must be at least 1":   {Factor: 2, Longest: 1},
		"--longest must be at least 1": {Factor: 2, Seeds: 1},
		"lora.heads = 3 cannot":        {Factor: 2, Seeds: 1, Longest: 1},
	} {
		s.Config = config.Default()
		s.Config.LoRA.Heads = 3
		err := s.Prepare(2)
		if !errors.As(err, new(*config.Error)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
