package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lte/checkpoint"
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/record"
)

// journeys are runs that hold state of every kind.
var journeys = []struct {
	name, method string
	set          func(c *config.Config, ranks int)
}{
	{"full", "full", all},
	{"full with sgd", "full", func(c *config.Config, _ int) { c.Optimizer.Name = "sgd" }},
	{"lora", "lora", all},
	{"lora, replicas", "lora", func(c *config.Config, _ int) { everyKind(c) }},
	{"lora, biases", "lora", func(c *config.Config, _ int) { c.LoRA.Bias = true }},
	{"mhlora", "mhlora", func(c *config.Config, ranks int) { all(c, ranks); c.LoRA.Heads = 3 }},
	{"sequential", "sequential", all},
	{"localsgd", "localsgd", all},
	{"diloco", "diloco", all},
	{"diloco, moments", "diloco", func(c *config.Config, _ int) { c.Merge.Moments = "clear" }},
	{"lte", "lte", all},
	{"lte, b", "lte", func(c *config.Config, ranks int) { all(c, ranks); c.Merge.Reset = "b" }},
	{"lte, ab", "lte", func(c *config.Config, ranks int) {
		all(c, ranks)
		c.Merge.Reset, c.Merge.Moments = "ab", "clear"
	}},
	{"lte, replicas", "lte", func(c *config.Config, ranks int) { everyKind(c); c.LoRA.Heads = 2 * ranks }},
	{"lte, biases", "lte", func(c *config.Config, ranks int) { c.LoRA.Bias, c.LoRA.Heads = true, 2*ranks }},
	{"lte, decay of weights", "lte", func(c *config.Config, _ int) { c.Merge.Decay, c.Merge.Combine = "weights", "sum" }},
	{"lte, many heads", "lte", func(c *config.Config, ranks int) { *c = thin("none"); c.LoRA.Heads = 2 * ranks; long(c) }},
	{"lte, momentum", "lte", func(c *config.Config, ranks int) { c.Merge.Momentum, c.LoRA.Heads = 0.5, 2*ranks }},
	{"lte, momentum, b", "lte", func(c *config.Config, _ int) { c.Merge.Momentum, c.Merge.Reset = 0.5, "b" }},
	{"lte, schedule", "lte", func(c *config.Config, _ int) { c.Merge.Schedule = []config.Interval{{Until: 4, Every: 1}} }},
	{"lte, measured", "lte", func(c *config.Config, ranks int) {
		c.Measure = config.Measure{Every: 3, Images: 8, Layers: []string{"*.mlp.0"}}
		c.Exchange.Transport, c.LoRA.Heads = "rows", 2*ranks
	}},
	{"lte, overlap", "lte", func(c *config.Config, ranks int) { all(c, ranks); c.Exchange.Overlap = true }},
	{"lte, overlap in int8", "lte", func(c *config.Config, ranks int) {
		c.Exchange.Overlap, c.Exchange.Wire, c.Exchange.Zstd, c.LoRA.Heads, c.Merge.Decay = true, "int8", true, 2*ranks, "weights"
	}},
	{"lte, auto", "lte", func(c *config.Config, _ int) { c.Exchange.Transport = "auto" }},
	{"lte, bf16", "lte", func(c *config.Config, _ int) { c.Exchange.Wire = "bf16" }},
	{"lte, int8", "lte", func(c *config.Config, ranks int) { c.Exchange.Wire, c.LoRA.Heads = "int8", 2*ranks }},
	{"lte, int8, b", "lte", func(c *config.Config, _ int) { c.Exchange.Wire, c.Merge.Reset = "int8", "b" }},
	{"lte, int4, ab", "lte", func(c *config.Config, _ int) { c.Exchange.Wire, c.Merge.Reset = "int4", "ab" }},
	{"lte, dense", "lte", func(c *config.Config, _ int) { c.Exchange.Transport = "dense" }},
	{"lte, dense in int8", "lte", func(c *config.Config, _ int) { c.Exchange.Transport, c.Exchange.Wire = "dense", "int8" }},
	{"lte, rows in bf16, b", "lte", func(c *config.Config, _ int) {
		c.Exchange.Transport, c.Exchange.Wire, c.Merge.Reset = "rows", "bf16", "b"
	}},
	{"lte, rows in int8", "lte", func(c *config.Config, ranks int) {
		c.Exchange.Transport, c.Exchange.Wire, c.LoRA.Heads = "rows", "int8", 2*ranks
	}},
	{"lte, shared basis", "lte", func(c *config.Config, ranks int) {
		all(c, ranks)
		c.LoRA.Basis, c.LoRA.TrainA, c.LoRA.Heads, c.Merge.Momentum, c.Exchange.Wire = "shared", false, 2*ranks, 0.5, "int2"
	}},
	{"lte, shared basis that trains, overlap in int8", "lte", func(c *config.Config, ranks int) {
		c.LoRA.Basis, c.LoRA.Heads, c.Exchange.Overlap, c.Exchange.Wire, c.Exchange.Zstd = "shared", 2*ranks, true, "int8", true
	}},
	{"lte, Muon", "lte", func(c *config.Config, _ int) { c.Optimizer.Name, c.LoRA.Bias = "muon", true }},
	{"full, Muon", "full", func(c *config.Config, _ int) { c.Optimizer.Name = "muon" }},
	{"lte, products in bf16", "lte", func(c *config.Config, _ int) { c.Compute.DType = "bf16" }},
}

// all sets what draws random numbers, and an average.
func all(c *config.Config, _ int) {
	c.Model.Depth, c.Model.Dropout, c.Model.DropPath = 2, 0.1, 0.3
	c.Data.Mixup, c.Data.CutMix, c.Train.Accumulate = 0.8, 1, 2
	c.Data.Augment, c.Data.Rotate, c.Data.Shift, c.Data.Flip, c.Data.Crop = true, 10, 0.5, true, 1
	if c.Method != "lora" && c.Method != "mhlora" {
		c.EMA.Decay = 0.9
	}
}

func long(c *config.Config) { c.Train.Steps, c.Run.EvalEvery, c.Checkpoint.Zstd = 14, 5, true }

// goOn has every journey stopped after those steps, in the middle of an interval and before a merge, and continue from its
// checkpoint: the bits of the weights, of their average and of all that was recorded are those of the run that was not stopped.
//
// Fails if what a checkpoint says of its run is taken without a look at its numbers.
func TestAboutIsChecked(t *testing.T) {
	for run, want := range map[string]string{
		`{"heads": -1}`:                  `"heads" is -1`,
		`{"heads": 9223372036854775807}`: `"heads" is 9223372036854775807`,
		`{"heads": 1e30}`:                "cannot unmarshal",
		`{"records": -1}`:                `"records" is -1`,
		`{"unreported": -1}`:             `"unreported" is -1`,
		`{"images": -1}`:                 `"images" is -1`,
		`{"images_per_step": -1}`:        `"images_per_step" is -1`,
		`{"seconds": 1e308}`:             `"seconds" is 1e+308`,
		`{"seconds": -1}`:                `"seconds" is -1`,
		`{"route": {"Transports": {"carrier pigeons": ["a"]}}}`:         "carrier pigeons",
		`{"route": {"Transports": {"dense": ["a"], "factors": ["a"]}}}`: `layer "a" has two transports`,
		`[]`: "cannot unmarshal",
		``:   "unexpected end",
	} {
		if _, err := (Saved{Manifest: checkpoint.Manifest{Step: 3, Run: []byte(run)}}).About(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "step 3") {
			t.Errorf("%s: %v, want %q", run, err, want)
		}
	}
}

// Fails if anything that the future depends on is not in the checkpoint. Shown by leaving out of state, one at a time: run.step,
// run.seconds_since_record, run.data_wait, run.losses, run.merged, run.lr, and what the interval has done, merged and lost.
func goOn(t *testing.T, g collective.Group, dir string, stops ...int) {
	for i, j := range journeys {
		c := tinyConfig(j.method)
		long(&c)
		j.set(&c, g.Size())
		be, err := compute.New("auto", 1, compute.DType(c.Compute.DType))
		if err != nil && c.Compute.DType == "bf16" {
			continue // not on this machine, nor this build
		}
		must(t, err)
		set := tinySet(30)
		run := func(tr *Trainer) (out outcome) {
			o := &out.observed
			_, err := tr.Run(when(g.Rank() == 0, o))
			if !errors.As(err, new(*InterruptedError)) {
				must(t, err)
			}
			if out.digest = tr.digest(); tr.average != nil {
				out.average = fmt.Sprint(collective.Digest(tr.average.values))
			}
			return out
		}
		want := run(newTrainerOn(t, c, g, set, be))
		for _, stop := range stops {
			what := fmt.Sprintf("%s, stopped after %d: ", j.name, stop)
			store := checkpoint.Open(filepath.Join(dir, fmt.Sprint(i, "-", stop)), 9, c.Checkpoint.Zstd)
			tr := newTrainerOn(t, c, g, set, be)
			keep(tr, store, stop)
			tr.seconds.run, tr.seconds.record, tr.waited = 1000, 500, 900
			first := run(tr)
			at := stopped(t, store, g)
			if at < stop || at > stop+2 {
				t.Fatalf("%sstopped after %d", what, at)
			}
			from := readBack(t, store, at, g)
			about, err := from.About()
			must(t, err)
			tr, err = Resume(tr.config, g, set, be, from)
			must(t, err)
			got := run(tr)
			got.observed.records = append(first.observed.records[:min(about.Records, len(first.observed.records))], got.observed.records...)
			if got.digest != want.digest || got.average != want.average {
				t.Fatalf("%sdigest %s, want %s; average %s, want %s", what, got.digest, want.digest, got.average, want.average)
			}
			for i, r := range got.observed.records {
				if i == 0 && r.ImagesPerSecond > 1 || r.Seconds < 1000 || r.DataWait < 900 {
					t.Fatalf("%srecord %d: %v s, %v images/s, %v s of waiting: a clock began anew", what, i, r.Seconds, r.ImagesPerSecond, r.DataWait)
				}
			}
			if tr.records != len(want.observed.records) && g.Rank() == 0 {
				t.Fatalf("%s%d records are counted, want %d", what, tr.records, len(want.observed.records))
			}
			sameRecords(t, what, got.observed.records, want.observed.records)
		}
	}
}

type outcome struct {
	digest, average string
	observed        observed
}

func when(rank0 bool, o record.Observer) record.Observer {
	if rank0 {
		return o
	}
	return nil
}

// What only shows later, or in few runs, comes back too.
//
// Fails with each of the four left out of the state, and by clocks that are not read before the state is taken.
func TestCountersAreRestored(t *testing.T) {
	c := tinyConfig("lte")
	c.Run.LogEvery, c.Run.EvalEvery = 50, 0
	tr, dir := newTrainer(t, c, collective.Alone{}, tinySet(30)), t.TempDir()
	tr.best, tr.lastImages, tr.shift = 0.75, 3, 8
	keep(tr, checkpoint.Open(dir, 9, false), 4)
	if _, err := tr.Run(nil); !errors.As(err, new(*InterruptedError)) {
		t.Fatalf("%v, want an interruption", err)
	}
	again, err := Resume(tr.config, collective.Alone{}, tr.set, tr.backend, newest(t, dir, collective.Alone{}))
	must(t, err)
	if again.seconds.run <= 0 || again.seconds.record <= 0 {
		t.Errorf("the run has taken no time: %+v", again.seconds)
	}
	if again.best != 0.75 || again.lastImages != 3 || again.shift != 8 {
		t.Errorf("best %v, images at the last record %d, shift %d", again.best, again.lastImages, again.shift)
	}
}

// A checkpoint's weights are for its own classes and images: fails if a run continues with others, and if the error is not of data.path.
// Fails by each of the four left out of what is compared.
func TestResumeRefusesAnotherDataSet(t *testing.T) {
	set, dir := tinySet(30), t.TempDir()
	tr := newTrainer(t, tinyConfig("lte"), collective.Alone{}, set)
	keep(tr, checkpoint.Open(dir, 9, false), 4)
	if _, err := tr.Run(nil); !errors.As(err, new(*InterruptedError)) {
		t.Fatalf("%v, want an interruption", err)
	}
	classes, fewer, name, wider := *set, *tinySet(29), *set, *set
	classes.Classes, name.Name, wider.Width = 6, "huge", 5
	for _, other := range []*data.Set{&classes, &fewer, &name, &wider} {
		_, err := Resume(tr.config, collective.Alone{}, other, tr.backend, newest(t, dir, collective.Alone{}))
		if e := new(config.Error); !errors.As(err, &e) || e.Keys[0] != "data.path" || !strings.Contains(err.Error(), "the checkpoint is of another data set") {
			t.Errorf("%+v: %v", datasetOf(other), err)
		}
	}
}

// keep makes a trainer stop after that step, or where the next merge is, if it cannot before.
func keep(tr *Trainer, store *checkpoint.Store, stop int) {
	tr.Checkpoint(CheckpointOptions{Store: store, Version: "test", Sync: func() error { return nil }, Stop: func() uint64 { return 1 }})
	tr.checkpoints.next = stop
}

// stopped is the step of the newest checkpoint; on all ranks.
func stopped(t *testing.T, store *checkpoint.Store, g collective.Group) int {
	t.Helper()
	steps, err := store.Steps()
	must(t, err)
	if len(steps) == 0 {
		t.Fatal("no checkpoint")
	}
	must(t, g.Barrier()) // before anyone writes the next
	return steps[0]
}

func readBack(t *testing.T, store *checkpoint.Store, step int, g collective.Group) (s Saved) {
	t.Helper()
	var err error
	s.Manifest, err = store.Read(step)
	must(t, err)
	s.Shared, err = store.Shared(s.Manifest)
	must(t, err)
	s.Of = func(rank int) (*checkpoint.Part, error) { return store.Rank(s.Manifest, rank) }
	return s
}

// sameRecords compares all but times, and bytes that are sent about once a second.
func sameRecords(t *testing.T, what string, got, want []record.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s%d records, want %d", what, len(got), len(want))
	}
	for i := range want {
		a, b := got[i], want[i]
		for _, r := range []*record.Record{&a, &b} {
			r.DataWait = 0
			r.Seconds, r.ImagesPerSecond, r.BytesSent, r.Traffic.Control = 0, 0, 0, record.Bytes{}
		}
		if x, y := strings.ReplaceAll(text(a), "NaN", "-"), strings.ReplaceAll(text(b), "NaN", "-"); x != y {
			t.Fatalf("%srecord %d:\n%s, want\n%s", what, i, x, y)
		}
	}
}

// text tells a record's fields, behind pointers too.
func text(r record.Record) string {
	var b strings.Builder
	for v, i := reflect.ValueOf(r), 0; i < v.NumField(); i++ {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		fmt.Fprintf(&b, "%s %v ", v.Type().Field(i).Name, f.Interface())
	}
	return b.String()
}

func TestResume(t *testing.T) { goOn(t, collective.Alone{}, t.TempDir(), 1, 4, 6, 13) }

// A run that has come to its end and is made longer is that of as many steps: the end is reported again where it is not the end any
// more.
//
// Fails if what the report of a merge reads does not come back: that it is still to be made, the replicas of the last merge, and, shown,
// in fp32 the heads as ranks hold them of one another.
func TestFinishedRunCanBecomeLonger(t *testing.T) { madeLonger(t, collective.Alone{}, t.TempDir()) }

// madeLonger makes those journeys longer, all of them where none is named.
func madeLonger(t *testing.T, g collective.Group, dir string, names ...string) {
	for i, j := range journeys {
		c := tinyConfig(j.method)
		long(&c)
		j.set(&c, g.Size())
		if names != nil && !slices.Contains(names, j.name) {
			continue
		}
		if c.Schedule.Kind, c.Merge.Schedule, c.Run.EvalEvery = "constant", nil, 3; c.Exchange.Overlap || c.Compute.DType == "bf16" {
			continue // the end takes up what else is one interval late; not on every machine
		}
		set := tinySet(30)
		run := func(tr *Trainer) []record.Record {
			var o observed
			_, err := tr.Run(&o)
			must(t, err)
			return o.records
		}
		whole := newTrainer(t, c, g, set)
		want := run(whole)
		c.Train.Steps = 9
		tr, at := newTrainer(t, c, g, set), filepath.Join(dir, fmt.Sprint("longer ", i))
		tr.Checkpoint(CheckpointOptions{Store: checkpoint.Open(at, 9, false), Sync: func() error { return nil }, Stop: func() uint64 { return 0 }})
		run(tr)
		from := newest(t, at, g)
		about, err := from.About()
		must(t, err)
		tr.config.Train.Steps = whole.config.Train.Steps
		tr, err = Resume(tr.config, g, set, tr.backend, from)
		must(t, err)
		sameRecords(t, j.name+": ", append(slices.Clone(want[:about.Records]), run(tr)...), want)
		if tr.digest() != whole.digest() {
			t.Fatalf("%s: digest %s, want %s", j.name, tr.digest(), whole.digest())
		}
	}
}

// A run that fails leaves no checkpoint of its failure behind, however much one is due, and names its step, also where it went on.
//
// Fails if a failure is not asked for before a checkpoint: in the middle of an interval, or of factors that are under way.
func TestNoCheckpointAfterAFailure(t *testing.T) {
	for _, overlap := range []bool{false, true} {
		c, g, set := tinyConfig("lte"), collective.Alone{}, tinySet(30)
		c.Exchange.Overlap, c.Checkpoint.Merges = overlap, 1
		tr, from := until(t, c, g, t.TempDir(), 3)
		tr, err := Resume(tr.config, g, set, tr.backend, from)
		must(t, err)
		tr.Checkpoint(CheckpointOptions{Store: checkpoint.Open(t.TempDir(), 9, false), Stop: func() uint64 { return map[int]uint64{5: 1}[tr.step] }})
		tr.checkpoints.next = 5
		feed := tr.newFeed()
		tr.feed = &fed{batches: func(at int) *data.Batch {
			b, err := feed.Next()
			must(t, err)
			if at == 1 {
				b.Images[0] = float32(math.NaN())
			}
			return b
		}}
		_, err = tr.run()
		feed.Close()
		if e := new(NonFiniteError); !errors.As(err, &e) || e.Step != 5 || tr.checkpoints.last != 3 {
			t.Fatalf("overlap %t: %v, want what fails at step 5; the last checkpoint is of step %d, want 3", overlap, err, tr.checkpoints.last)
		}
	}
}

// Checkpoints that are written while training continues are of the step that they were begun at: from each of them the run comes to the
// same end.
//
// Fails if training changes what is being written, if none is written by merges or by the clock, or if the best is not marked.
func TestCheckpointsAreWrittenWhileTraining(t *testing.T) {
	for name, set := range map[string]func(c *config.Checkpoint){
		"merges":  func(c *config.Checkpoint) { c.Merges = 1 },
		"minutes": func(c *config.Checkpoint) { c.Minutes = 1e-9 },
		"best":    func(c *config.Checkpoint) { c.Best = true },
	} {
		c, g, images, dir := tinyConfig("lte"), collective.Alone{}, tinySet(30), t.TempDir()
		c.Train.Steps, c.Run.EvalEvery = 40, 10
		set(&c.Checkpoint)
		want := newTrainer(t, c, g, images)
		store := checkpoint.Open(dir, 99, false)
		want.Checkpoint(CheckpointOptions{Store: store, Sync: func() error { return nil }, Stop: func() uint64 { return 0 }})
		_, err := want.Run(nil)
		must(t, err)
		steps, err := store.Steps()
		must(t, err)
		if len(steps) < 2 {
			t.Errorf("%s: checkpoints of steps %v", name, steps)
		}
		for _, step := range steps {
			tr, err := Resume(want.config, g, images, want.backend, readBack(t, store, step, g))
			must(t, err)
			if _, err := tr.Run(nil); err != nil || tr.digest() != want.digest() {
				t.Errorf("%s, from step %d: %v, digest %s, want %s", name, step, err, tr.digest(), want.digest())
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "checkpoints", "best")); (err == nil) != c.Checkpoint.Best {
			t.Errorf("%s: the best: %v", name, err)
		}
	}
}
