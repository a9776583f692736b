package train

import (
	"encoding/json"
	"fmt"

	"lte/checkpoint"
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/merge"
)

// About describes the run of a checkpoint, for readers of no tensors.
type About struct {
	Method     string       `json:"method"`
	Model      string       `json:"model"`
	Merges     int          `json:"merges"`
	Images     int64        `json:"images"`
	Seconds    float64      `json:"seconds"`
	Records    int          `json:"records"` // lines of metrics.jsonl
	Best       float64      `json:"best_test_top1"`
	Unreported int          `json:"unreported,omitempty"` // steps of the last interval, at the end of the run: its report follows
	Dataset    Dataset      `json:"dataset"`
	Route      *merge.Route `json:"route,omitempty"` // how heads travel

	Heads         int `json:"heads"`           // of all ranks, or of a stack; 0 where all ranks train the same
	ImagesPerStep int `json:"images_per_step"` // of all ranks
}

// Dataset identifies a data set.
type Dataset struct {
	Name  string `json:"name"`
	Train int    `json:"train"` // images
	Test  int    `json:"test"`
	Sizes [4]int `json:"sizes"` // classes, channels, height, width
}

func datasetOf(s *data.Set) Dataset {
	return Dataset{Name: s.Name, Train: s.Train.Len(), Test: s.Test.Len(), Sizes: [4]int{s.Classes, s.Channels, s.Height, s.Width}}
}

// about describes the run, after its state was taken.
func (t *Trainer) about() About {
	a := About{Method: t.config.Method, Model: ModelName(t.config.Model), Merges: t.algorithm.counts().merges, Images: int64(t.images()),
		Seconds: t.seconds.run, Records: t.records, Best: t.best, Unreported: t.unreported, Dataset: datasetOf(t.set),
		Heads: checkpointHeads(t.config), ImagesPerStep: imagesPerStep(t.config, t.meter.Size())}
	if r, ok := t.route(); ok {
		a.Route = &r
	}
	return a
}

// Saved is a checkpoint that was read.
type Saved struct {
	Manifest checkpoint.Manifest
	Shared   *checkpoint.Part
	Of       func(rank int) (*checkpoint.Part, error) // a rank's own part
}

// About describes its run.
func (s Saved) About() (a About, err error) {
	if err = json.Unmarshal(s.Manifest.Run, &a); err == nil {
		err = a.check()
	}
	if err != nil {
		return a, fmt.Errorf("reading the description of the run in the checkpoint of step %d: %w", s.Manifest.Step, err)
	}
	return a, nil
}

// check returns an error for what no run can be.
func (a About) check() error {
	const most = 1 << 53
	for key, n := range map[string]int64{"merges": int64(a.Merges), "images": a.Images, "records": int64(a.Records), "unreported": int64(a.Unreported),
		"heads": int64(a.Heads), "images_per_step": int64(a.ImagesPerStep)} {
		if n < 0 || n > most {
			return fmt.Errorf("%q is %d: expected 0 to %d", key, n, most)
		}
	}
	if !(a.Seconds >= 0 && a.Seconds <= 1e9) {
		return fmt.Errorf(`"seconds" is %g: expected 0 to 1e9`, a.Seconds)
	}
	if a.Route == nil {
		return nil
	}
	return a.Route.Check()
}

// Resume is New for a run that is resumed from a checkpoint: on as many ranks, with the same number of threads and the same back end, to
// the bit as if it had not been interrupted. For other numbers of ranks and heads see Elastic. What contradicts the checkpoint is a
// *config.Error.
func Resume(c config.Config, g collective.Group, set *data.Set, be compute.Backend, s Saved) (*Trainer, error) {
	about, err := s.About()
	if err != nil {
		return nil, err
	}
	switch now := datasetOf(set); {
	case now != about.Dataset:
		return nil, &config.Error{Keys: []string{"data.path"}, Problem: fmt.Sprintf("data.path: the checkpoint is of another data set: %+v, not %+v", about.Dataset, now)}
	case c.Train.Steps < s.Manifest.Step:
		return nil, &config.Error{Keys: []string{"train.steps"}, Problem: fmt.Sprintf("train.steps = %d is less than the %d steps that the checkpoint has done", c.Train.Steps, s.Manifest.Step)}
	}
	if _, err := s.Elastic(c, g.Size()); err != nil {
		return nil, err
	}
	t, err := build(c, g, set, be, about.Route)
	if err != nil {
		return nil, err
	}
	t.unreported = about.Unreported
	if err := t.meter.For(collective.Control).NodeBarrier(); err != nil { // all have initialized shared memory
		return nil, err
	}
	if s.Manifest.Ranks != g.Size() || about.Heads != checkpointHeads(c) {
		err = t.reshard(s, about)
	} else {
		err = t.restore(s)
	}
	if err == nil && t.step != s.Manifest.Step {
		err = fmt.Errorf("the checkpoint of step %d has the state of step %d", s.Manifest.Step, t.step)
	}
	if err != nil {
		return nil, err
	}
	t.algorithm.restored()
	return t, nil
}

// restore restores the state from a checkpoint of as many ranks and heads.
func (t *Trainer) restore(s Saved) error {
	own, err := s.Of(t.meter.Rank())
	if err != nil {
		return err
	}
	state := t.state()
	if err := s.Shared.Restore(state.Shared); err != nil {
		return err
	}
	return own.Restore(state.Own)
}
