package train

import (
	"encoding/json"
	"fmt"

	"lte/checkpoint"
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
)

// About is what a checkpoint says of its run, for those who read no tensors.
type About struct {
	Method  string  `json:"method"`
	Model   string  `json:"model"`
	Merges  int     `json:"merges"`
	Images  int64   `json:"images"`
	Seconds float64 `json:"seconds"`
	Records int     `json:"records"` // lines of metrics.jsonl
	Best    float64 `json:"best_test_top1"`
	Dataset Dataset `json:"dataset"`
	Route   *Route  `json:"route,omitempty"` // how heads travel
}

// Dataset is what a run can tell its data set by.
type Dataset struct {
	Name  string `json:"name"`
	Train int    `json:"train"` // images
	Test  int    `json:"test"`
	Sizes [4]int `json:"sizes"` // classes, channels, height, width
}

func datasetOf(s *data.Set) Dataset {
	return Dataset{Name: s.Name, Train: s.Train.Len(), Test: s.Test.Len(), Sizes: [4]int{s.Classes, s.Channels, s.Height, s.Width}}
}

// about tells of the run, after its state was taken.
func (t *Trainer) about() About {
	a := About{Method: t.config.Method, Model: ModelName(t.config.Model), Merges: t.method.counts().merges, Images: int64(t.step) * t.imagesPerStep(),
		Seconds: t.seconds.run, Records: t.records, Best: t.best, Dataset: datasetOf(t.set)}
	if _, ok := t.method.(routed); ok {
		r := t.route()
		a.Route = &r
	}
	return a
}

// Saved is a checkpoint that was read, of as many ranks.
type Saved struct {
	Manifest    checkpoint.Manifest
	Shared, Own *checkpoint.Part
}

// About is what it says of its run.
func (s Saved) About() (a About, err error) {
	if err := json.Unmarshal(s.Manifest.Run, &a); err != nil {
		return a, fmt.Errorf("reading what the checkpoint of step %d says of its run: %w", s.Manifest.Step, err)
	}
	return a, nil
}

// Resume is New, of a run that goes on from a checkpoint: on as many ranks, with the same number of threads and the same back
// end, to the bit as if it had not been interrupted. What contradicts the checkpoint is a *config.Error.
func Resume(c config.Config, g collective.Group, set *data.Set, be compute.Backend, s Saved) (*Trainer, error) {
	about, err := s.About()
	if err != nil {
		return nil, err
	}
	switch now := datasetOf(set); {
	case s.Manifest.Ranks != g.Size():
		return nil, &config.Error{Problem: fmt.Sprintf("the checkpoint is of %d ranks, not %d: start as many", s.Manifest.Ranks, g.Size())}
	case now != about.Dataset:
		return nil, &config.Error{Keys: []string{"data.path"}, Problem: fmt.Sprintf("data.path: the checkpoint is of another data set: %+v, not %+v", about.Dataset, now)}
	case c.Train.Steps < s.Manifest.Step:
		return nil, &config.Error{Keys: []string{"train.steps"}, Problem: fmt.Sprintf("train.steps = %d is less than the %d steps that the checkpoint has done", c.Train.Steps, s.Manifest.Step)}
	}
	t, err := build(c, g, set, be, about.Route)
	if err != nil {
		return nil, err
	}
	if err := t.meter.For(collective.Control).NodeBarrier(); err != nil { // all have begun what they have in common
		return nil, err
	}
	state := t.state()
	if err := s.Shared.Restore(state.shared); err != nil {
		return nil, err
	}
	if err := s.Own.Restore(state.own); err != nil {
		return nil, err
	}
	t.method.restored()
	return t, nil
}
