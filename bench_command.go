package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"lte/bench"
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/internal/memory"
	"lte/mpi"
)

// benchCommand holds the flags that all benchmarks share: short names of configuration keys, and the data's shape.
type benchCommand struct {
	settings
	Model   string `help:"Preset; empty: the model of the configuration." default:"vit-s/32" placeholder:"NAME"`
	Method  string `help:"lte or full." default:"lte"`
	Image   int    `help:"Side of an image, in pixels." default:"224"`
	Classes int    `help:"Classes." default:"1000"`
	Batch   int    `help:"Images of a step." default:"32"`
	Rank    int    `help:"Rank r of a LoRA head." default:"64"`
	DType   string `name:"dtype" help:"f32 or bf16." default:"f32"`
	Threads int    `help:"Compute threads of a rank." default:"1"`
	Warmup  int    `help:"Rounds before those that count." default:"3"`
	Steps   int    `help:"Rounds that count." default:"20"`
	JSON    bool   `help:"One JSON object a line."`
}

type benchCommands struct {
	Gemm  benchCommand `cmd:"" help:"Matrix products of a model's linear layers, in GFLOP/s: the roofline of this machine, now."`
	Step  benchCommand `cmd:"" help:"Local steps, on one batch: images/s of all ranks, the share of the roofline, where the time goes, allocations, memory."`
	Merge benchCommand `cmd:"" help:"Merges of all ranks, under mpirun: milliseconds and bytes."`
	Data  dataBench    `cmd:"" help:"Reading and augmenting images, in images/s, and what a step waits for them."`
	Wait  waitCommand  `cmd:"" help:"What waiting for one another costs the ranks of this machine, under mpirun."`

	Messages messagesCommand `cmd:"" help:"What the collectives of a run take, under mpirun: to hold against lte plan."`
}

// Largest values of flags.
const (
	maxMessage = 1 << 30 // bytes
	maxTimes   = 1_000_000
	maxThreads = 4096
)

// messagesCommand is lte bench messages.
type messagesCommand struct {
	Blocks []int `help:"Bytes that a rank says to each other one." default:"8,4096,65536,1048576"`
	Rounds int   `help:"How many." default:"9"`
	JSON   bool  `help:"One JSON object a line."`
}

// runMessages measures collectives and prints a line for each size of block.
func runMessages(c messagesCommand, stdout io.Writer) int {
	return launch(os.Stderr, func(w *mpi.World) error {
		var err error
		if len(c.Blocks) == 0 {
			err = &config.Error{Problem: "--blocks: expected sizes in bytes, such as 8,4096"}
		}
		for _, block := range c.Blocks {
			err = cmp.Or(err, inRange("blocks", block, 1, maxMessage))
		}
		if err := collective.Agree(w, cmp.Or(err, inRange("rounds", c.Rounds, 1, maxTimes))); err != nil {
			return err
		}
		all := float64(w.Size()) * float64(slices.Max(c.Blocks)) // what a rank sends to all
		if err := enoughFor(w, fmt.Sprintf("--blocks %d", slices.Max(c.Blocks)), memory.Need{Own: 2 * all, Common: all * float64(1+2*w.NodeSize()), Node: w.NodeSize()}); err != nil {
			return err
		}
		p := printer{stdout, c.JSON}
		for _, block := range c.Blocks {
			m, err := bench.RunMessages(w, block, c.Rounds)
			if err != nil {
				return err
			}
			if w.Rank() == 0 {
				err = p.messages(m)
			}
			if err := collective.Agree(w, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitCommand is lte bench wait.
type waitCommand struct {
	Work   time.Duration `help:"That a rank computes between collectives: half to one and a half of it." default:"50ms"`
	Bytes  int           `help:"Of the mean that ranks then take." default:"1000000"`
	Rounds int           `help:"How many." default:"40"`
	JSON   bool          `help:"One JSON object a line."`
}

// runWait measures waiting and prints it.
func runWait(c waitCommand, stdout io.Writer) int {
	runtime.LockOSThread() // a rank's processor time is this thread's
	return launch(os.Stderr, func(w *mpi.World) error {
		if err := collective.Agree(w, cmp.Or(inRange("work", c.Work, 1, time.Hour), inRange("bytes", c.Bytes, 4, maxMessage), inRange("rounds", c.Rounds, 1, maxTimes))); err != nil {
			return err
		}
		if err := enoughFor(w, fmt.Sprintf("--bytes %d", c.Bytes), memory.Need{Own: 4 * float64(c.Bytes), Node: 1}); err != nil {
			return err
		}
		m, err := bench.RunWait(w, w.MachineCores(), c.Work, c.Bytes, c.Rounds)
		if err != nil {
			return err
		}
		if w.Rank() == 0 {
			err = printer{stdout, c.JSON}.wait(m)
		}
		return collective.Agree(w, err)
	})
}

// dataBench is lte bench data.
type dataBench struct {
	benchCommand
	Path   string `arg:"" optional:"" help:"What data.path may name; without it pictures of 256×341 are made and packed in a temporary folder."`
	Images int    `help:"Images to prepare without steps." default:"3000"`
}

// runDataBench measures the feed of a set and prints it. The images are cropped at random, resized, flipped and normalised,
// unless --set says otherwise.
func runDataBench(b dataBench, stdout io.Writer) (err error) {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	b.Set = append([]string{"data.size=" + strconv.Itoa(b.Image), "data.flip=true", "data.rotate=0", "data.shift=0", "data.scale=0",
		"data.shear=0", "data.normalize=imagenet"}, b.Set...)
	steps := b.Steps
	b.Steps = max(b.Steps, 1)
	o, err := b.options()
	if err != nil {
		return err
	}
	o.Rounds = steps
	if err := o.Config.Resolve(1); err != nil {
		return err
	}
	if err := cmp.Or(inRange("images", b.Images, 0, maxRounds), inRange("steps", steps, 0, maxRounds)); err != nil {
		return err
	}
	holds := aRun
	if steps == 0 {
		holds = aFeed
	}
	task := ofBench(o, 1, 1, holds)
	task.set.Classes = 1 // at least
	if err := task.fits(collective.Alone{}); err != nil {
		return err
	}
	if b.Path == "" {
		folder, err := os.MkdirTemp("", "lte-bench-data-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
		if err := bench.PackScenes(folder); err != nil {
			return err
		}
		b.Path = folder
	}
	o.Config.Data.Path = b.Path
	set, err := data.Open(source(o.Config, b.Threads), splitSeed)
	if err != nil {
		return err
	}
	task.set = set
	if err := task.fits(collective.Alone{}); err != nil {
		return err
	}
	d, err := bench.RunData(o, set, b.Images)
	if err != nil {
		return err
	}
	return printer{stdout, b.JSON}.data(d)
}

func (p printer) data(d bench.Data) error {
	if p.json {
		return p.line(d)
	}
	fmt.Fprintf(p.to, "%s, fed at %d×%d by %d goroutines: %.0f images/s\n", d.Dataset, d.Image, d.Image, d.Workers, d.ImagesPerSecond)
	if d.Steps == 0 {
		return nil
	}
	_, err := fmt.Fprintf(p.to, "%s, %s, batch %d, %s, threads: %d; %d steps\n%.1f ms a step on one batch, %.1f ms on fed ones, of these %.2f ms waiting: %.2f %%; the feed costs %.2f %%\n",
		d.Model, d.Method, d.Batch, d.DType, d.Threads, d.Steps, d.StepMS, d.FedStepMS, d.WaitMS, 100*d.WaitShare, 100*d.CostShare)
	return err
}

// options are what the flags and the configuration say together.
func (b benchCommand) options() (bench.Options, error) {
	set := func(key string, value any) { b.Set = append(b.Set, fmt.Sprintf("%s=%v", key, value)) }
	if b.Model != "" {
		set("model.preset", strconv.Quote(b.Model))
	}
	set("method", strconv.Quote(b.Method))
	set("train.batch", b.Batch)
	set("train.eval_batch", 1)
	set("lora.rank", b.Rank)
	set("compute.dtype", strconv.Quote(b.DType))
	set("compute.threads", b.Threads)
	c, err := b.load()
	if err != nil {
		return bench.Options{}, err
	}
	if err := cmp.Or(inRange("image", b.Image, 1, maxImage), inRange("classes", b.Classes, 1, maxClasses), inRange("steps", b.Steps, 1, maxRounds),
		inRange("warmup", b.Warmup, 0, maxRounds), inRange("threads", b.Threads, 1, maxThreads), checkThreads("--threads ", b.Threads, runtime.NumCPU())); err != nil {
		return bench.Options{}, err
	}
	return bench.Options{Config: c, Image: b.Image, Classes: b.Classes, Threads: b.Threads, Warmup: b.Warmup, Rounds: b.Steps}, nil
}

// runBench measures what name says and prints it.
func runBench(name string, b benchCommand, stdout, stderr io.Writer) int {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	o, err := b.options()
	if err != nil {
		return complain(stderr, err)
	}
	p := printer{stdout, b.JSON}
	if name != "merge" { // every rank by itself
		if err := o.Config.Resolve(1); err != nil {
			return complain(stderr, err)
		}
	}
	switch name {
	case "gemm":
		return complain(stderr, runGemm(o, p))
	}
	return launch(os.Stderr, func(w *mpi.World) error {
		if name == "merge" {
			if err := collective.Agree(w, o.Config.Resolve(w.Size())); err != nil {
				return err
			}
		}
		t := ofBench(o, 1, 1, aRun|products) // every rank by itself
		if name == "merge" {
			t = ofBench(o, w.Size(), w.NodeSize(), aRun)
		}
		if err := t.fits(w); err != nil {
			return err
		}
		var show func() error
		if name == "step" {
			s, err := bench.RunStep(o, w)
			if err != nil {
				return err
			}
			show = func() error { return p.step(s) }
		} else {
			m, err := bench.RunMerge(o, w)
			if err != nil {
				return err
			}
			show = func() error { return p.merge(m) }
		}
		var err error
		if w.Rank() == 0 {
			err = show()
		}
		return collective.Agree(w, err)
	})
}

// runGemm measures products and prints them.
func runGemm(o bench.Options, p printer) error {
	if err := ofBench(o, 1, 1, products).fits(collective.Alone{}); err != nil {
		return err
	}
	rows, total, err := bench.RunGemm(o)
	if err != nil {
		return err
	}
	return p.gemm(rows, total)
}

// printer writes results as text or as JSON.
type printer struct {
	to   io.Writer
	json bool
}

func (p printer) line(v any) error { return json.NewEncoder(p.to).Encode(v) }

func (p printer) gemm(rows []bench.Gemm, total bench.Roofline) error {
	if p.json {
		for _, r := range rows {
			if err := p.line(r); err != nil {
				return err
			}
		}
		return p.line(total)
	}
	w := tabwriter.NewWriter(p.to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "layer\tpass\tm\tn\tk\ta step\tGFLOP/s\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%.0f\t\n", r.Layer, r.Pass, r.M, r.N, r.K, r.Count, r.GFLOPS)
	}
	fmt.Fprintf(w, "roofline\t%s %s, threads: %d\t\t\t\t\t%.0f\t\n", total.Backend, total.DType, total.Threads, total.GFLOPS)
	return w.Flush()
}

func (p printer) step(s bench.Step) error {
	if p.json {
		return p.line(s)
	}
	method := s.Method
	if s.Rank > 0 {
		method = fmt.Sprintf("%s of rank %d", s.Method, s.Rank)
	}
	fmt.Fprintf(p.to, "%s, %d×%d, batch %d, %s; %s %s, ranks: %d, threads: %d; %d steps\n", s.Model, s.Image, s.Image, s.Batch,
		method, s.Backend, s.DType, s.Ranks, s.Threads, s.Steps)
	fmt.Fprintf(p.to, "%.1f images/s, %.1f ms a step, %.2f GFLOP an image\n", s.ImagesPerSecond, s.StepMS, s.FLOPsPerImage/1e9)
	fmt.Fprintf(p.to, "%.0f GFLOP/s of %.0f: %.1f %% of the roofline\n", s.GFLOPS, s.RooflineGFLOPS, 100*s.Share)
	kinds := make([]compute.Kind, compute.Kinds)
	for i := range kinds {
		kinds[i] = compute.Kind(i)
	}
	slices.SortStableFunc(kinds, func(a, b compute.Kind) int { return cmp.Compare(s.MS[b.String()], s.MS[a.String()]) })
	for _, k := range kinds {
		fmt.Fprintf(p.to, "  %-14s %9.2f ms  %4.1f %%\n", k, s.MS[k.String()], 100*s.MS[k.String()]/s.StepMS)
	}
	fmt.Fprintf(p.to, "%g allocations a step, %.0f MiB at most, grown by %.1f MiB since the warm-up\n", s.Allocations,
		float64(s.PeakBytes)/(1<<20), float64(s.GrowthBytes)/(1<<20))
	return nil
}

// either writes v as JSON, or the text.
func (p printer) either(v any, format string, args ...any) error {
	if p.json {
		return p.line(v)
	}
	_, err := fmt.Fprintf(p.to, format, args...)
	return err
}

func (p printer) wait(m bench.Wait) error {
	return p.either(m, "%d ranks on %d cores, %g ms of work and the mean of %d bytes: %.1f ms a round, %.2f times the ideal\n",
		m.Ranks, m.Cores, m.WorkMS, m.Bytes, m.RoundMS, m.Waste)
}

func (p printer) messages(m bench.Messages) error {
	return p.either(m, "%d ranks, %d a node, blocks of %d bytes: Allgather %.2f ms, into memory of the node %.2f ms, Alltoall from such %.2f ms\n",
		m.Ranks, m.NodeSize, m.Block, m.AllgatherMS, m.AllgatherSharedMS, m.AlltoallSharedMS)
}

func (p printer) merge(m bench.Merge) error {
	return p.either(m, "%s, %d ranks, heads of rank %d: %.1f ms a merge; %.2f MB sent by a rank (a dense allreduce: %.2f MB)\n",
		m.Model, m.Ranks, m.Rank, m.MS, float64(m.BytesSent)/1e6, float64(m.DenseBytes)/1e6)
}
