package bench

import (
	"slices"
	"time"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/train"

	"golang.org/x/sys/unix"
)

// Data is the speed at which images are read and augmented, and the time that a step waits for them. A process pinned to one core, with one
// thread, trains and prepares images on the same core.
type Data struct {
	Kind            string  `json:"kind"` // "data"
	Dataset         string  `json:"dataset"`
	Image           int     `json:"image"`
	Workers         int     `json:"workers"`           // goroutines that prepare images
	Images          int     `json:"images"`            // prepared without training
	ImagesPerSecond float64 `json:"images_per_second"` // without training
	Model           string  `json:"model,omitempty"`   // this and all below: only if steps were measured
	Method          string  `json:"method,omitempty"`
	DType           string  `json:"dtype,omitempty"`
	Batch           int     `json:"batch,omitempty"`
	Threads         int     `json:"threads,omitempty"`
	Steps           int     `json:"steps,omitempty"`
	StepMS          float64 `json:"step_ms,omitempty"`     // mean, on one batch in memory
	FedStepMS       float64 `json:"fed_step_ms,omitempty"` // mean, on batches of the feed, waiting included
	WaitMS          float64 `json:"wait_ms,omitempty"`     // mean, part of FedStepMS
	WaitShare       float64 `json:"wait_share,omitempty"`  // WaitMS / FedStepMS
	CostShare       float64 `json:"cost_share,omitempty"`  // (FedStepMS - StepMS) / FedStepMS: the wait, and the slowdown by the feed
}

// RunData measures set, whose images are prepared as configured: so many images without steps, then o.Rounds steps; 0: none.
func RunData(o Options, set *data.Set, images int) (Data, error) {
	feed := newFeed(o.Config, set)
	defer feed.Close()
	d := Data{Kind: "data", Dataset: set.Name, Image: set.Width, Workers: max(1, set.Workers)}
	b, err := take(feed, o.Warmup+data.Ahead)
	if err != nil {
		return d, err
	}
	b = &data.Batch{Images: slices.Clone(b.Images), Labels: slices.Clone(b.Labels)} // it is valid until the next
	batch := o.Config.Train.Batch
	batches := (images + batch - 1) / batch
	began := time.Now()
	if _, err := take(feed, batches); err != nil {
		return d, err
	}
	seconds := time.Since(began).Seconds()
	d.Images = batches * batch
	d.ImagesPerSecond = float64(d.Images) / seconds
	if o.Rounds == 0 {
		return d, nil
	}
	return d, d.steps(o, set, feed, b)
}

func newFeed(c config.Config, set *data.Set) *data.Feed {
	return data.NewFeed(set, data.FeedOptions{Seed: c.Seed, Batch: c.Train.Batch, Size: 1, Augment: train.Augment(c.Data)})
}

// take returns the last of the feed's next n batches.
func take(feed *data.Feed, n int) (last *data.Batch, err error) {
	for i := 0; i < n && err == nil; i++ {
		last, err = feed.Next()
	}
	return last, err
}

// FeedSeconds is the processor time that preparing an image of set takes as configured, the mean of at least so many images.
func FeedSeconds(c config.Config, set *data.Set, images int) (float64, error) {
	feed := newFeed(c, set)
	defer feed.Close()
	if _, err := take(feed, data.Ahead); err != nil {
		return 0, err
	}
	used := processorTime(unix.CLOCK_PROCESS_CPUTIME_ID) // as many batches are prepared ahead now as at the end
	n := (images + c.Train.Batch - 1) / c.Train.Batch
	if _, err := take(feed, n); err != nil {
		return 0, err
	}
	return (processorTime(unix.CLOCK_PROCESS_CPUTIME_ID) - used).Seconds() / float64(n*c.Train.Batch), nil
}

// steps measures steps on batch b and on the feed's batches, in turns, because the machine's speed varies.
func (d *Data) steps(o Options, set *data.Set, feed *data.Feed, b *data.Batch) error {
	backend, err := o.backend()
	if err != nil {
		return err
	}
	t, err := train.New(o.Config, collective.Alone{}, set, backend)
	if err != nil {
		return err
	}
	for range o.Warmup {
		if err := step(t, b); err != nil {
			return err
		}
	}
	const turns = 4
	var alone, fed, wait time.Duration
	n := (o.Rounds + turns - 1) / turns
	for range turns {
		// Until the feed has filled its queue, and is idle.
		time.Sleep(time.Duration(float64(data.Ahead*len(b.Labels)) / d.ImagesPerSecond * float64(2*time.Second)))
		began := time.Now()
		for range n {
			if err := step(t, b); err != nil {
				return err
			}
		}
		alone += time.Since(began)
		var waited time.Duration
		for i := range data.Ahead + n {
			if i == data.Ahead { // the batches that were queued are used up
				began, waited = time.Now(), feed.Wait()
			}
			next, err := feed.Next()
			if err != nil {
				return err
			}
			if err := step(t, next); err != nil {
				return err
			}
		}
		fed, wait = fed+time.Since(began), wait+feed.Wait()-waited
	}
	c := o.Config
	d.Model, d.Method, d.DType, d.Batch, d.Threads, d.Steps = o.name(), c.Method, c.Compute.DType, c.Train.Batch, o.Threads, turns*n
	ms := func(total time.Duration) float64 { return 1e3 * total.Seconds() / float64(d.Steps) }
	d.StepMS, d.FedStepMS, d.WaitMS = ms(alone), ms(fed), ms(wait)
	d.WaitShare, d.CostShare = d.WaitMS/d.FedStepMS, 1-d.StepMS/d.FedStepMS
	return nil
}
