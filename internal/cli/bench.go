package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"lte/bench"
	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/internal/footprint"
	"lte/internal/memory"
	"lte/internal/session"
	"lte/mpi"
	"lte/plan"
)

// benchCommands are those of lte bench.
type benchCommands struct {
	Gemm     gemmCommand      `cmd:"" help:"Matrix products of a model's linear layers, in GFLOP/s: the roofline of this machine, now."`
	Step     stepCommand      `cmd:"" help:"Local steps, on one batch: images/s of all ranks, the share of the roofline, where the time goes, allocations, memory."`
	Merge    mergeCommand     `cmd:"" help:"Merges of all ranks, under mpirun: milliseconds and bytes."`
	Data     benchDataCommand `cmd:"" help:"Reading and augmenting images, in images/s, and how long a step waits for them."`
	Wait     waitCommand      `cmd:"" help:"What waiting for each other costs the ranks of this machine, under mpirun."`
	Messages messagesCommand  `cmd:"" help:"Times of a run's collectives, under mpirun: to compare with lte plan."`
}

// benchFlags are the flags that all benchmarks share: short names of configuration keys, and the shape of the data.
type benchFlags struct {
	settings
	Model   string `help:"Preset; empty: the model of the configuration." default:"vit-s/32" placeholder:"NAME"`
	Method  string `help:"Training method: ${methods}." default:"${method}"`
	Image   int    `help:"Side of an image, in pixels." default:"224"`
	Classes int    `help:"Classes." default:"1000"`
	Batch   int    `help:"Images of a step." default:"32"`
	Rank    int    `help:"Rank r of a LoRA head." default:"64"`
	DType   string `name:"dtype" help:"f32 or bf16." default:"f32"`
	Threads int    `help:"Compute threads of a rank." default:"1"`
	Warmup  int    `help:"Rounds before those that count." default:"3"`
	Steps   int    `help:"Rounds that count." default:"20"`
	JSON    bool   `help:"One JSON object per line."`
}

// Largest values of flags.
const (
	maxMessage = 1 << 30 // bytes
	maxTimes   = 1_000_000
	maxThreads = 4096
)

// options are what the flags and the configuration set together.
func (b benchFlags) options() (bench.Options, error) {
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
		inRange("warmup", b.Warmup, 0, maxRounds), inRange("threads", b.Threads, 1, maxThreads), session.CheckThreads("--threads ", b.Threads, runtime.NumCPU())); err != nil {
		return bench.Options{}, err
	}
	return bench.Options{Config: c, Image: b.Image, Classes: b.Classes, Threads: b.Threads, Warmup: b.Warmup, Rounds: b.Steps}, nil
}

// alone is options for a benchmark of which every rank makes its own.
func (b benchFlags) alone() (o bench.Options, err error) {
	if o, err = b.options(); err == nil {
		err = o.Config.Resolve(1)
	}
	return o, err
}

// What a benchmark allocates on a rank.
const (
	aRun     = 1 << iota // the memory of a run
	aFeed                // of it only the batches that are prepared ahead
	products             // operands of matrix products
)

// benchTask is a benchmark, of runs of so many ranks, that allocates what holds says.
func benchTask(o bench.Options, ranks, perNode, holds int) footprint.Task {
	set := &data.Set{Shape: data.Shape{Channels: 3, Height: o.Image, Width: o.Image}, Classes: o.Classes}
	names := map[string]string{plan.ImageKey: "--image", plan.ClassesKey: "--classes", "train.batch": "--batch", "lora.rank": "--rank", "model.preset": "--model"}
	return footprint.Task{Name: "the benchmark", Config: o.Config, Set: set, Ranks: ranks, PerNode: perNode, Names: names,
		Count: func(c config.Config, set *data.Set) (f footprint.Footprint, err error) {
			if holds&aRun != 0 {
				f.Run, err = plan.Footprint(c, ranks, perNode, set)
			}
			if holds&aFeed != 0 {
				f.Run.Images = data.Ahead * 4 * float64(c.Train.Batch) * float64(set.Channels*set.Height*set.Width)
			}
			if holds&products != 0 && err == nil {
				o := o
				o.Config, o.Image, o.Classes = c, set.Height, set.Classes
				f.ExtraFor = "operands of products"
				f.Extra, err = o.OperandBytes()
			}
			return f, err
		}}
}

// gemmCommand is lte bench gemm.
type gemmCommand struct{ benchFlags }

func (b gemmCommand) Run(p *process) error {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	o, err := b.alone()
	if err != nil {
		return err
	}
	if err := benchTask(o, 1, 1, products).Check(collective.Alone{}); err != nil {
		return err
	}
	rows, total, err := bench.RunGemm(o)
	if err != nil {
		return err
	}
	return printer{p.stdout, b.JSON}.gemm(rows, total)
}

// stepCommand is lte bench step.
type stepCommand struct{ benchFlags }

// Run measures steps, of every rank by itself.
func (b stepCommand) Run(p *process) error {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	o, err := b.alone()
	if err != nil {
		return err
	}
	return p.launch(func(w *mpi.World) error {
		if err := benchTask(o, 1, 1, aRun|products).Check(w); err != nil {
			return err
		}
		s, err := bench.RunStep(o, w)
		return printOnFirst(w, printer{p.stdout, b.JSON}.step, s, err)
	})
}

// mergeCommand is lte bench merge.
type mergeCommand struct{ benchFlags }

func (b mergeCommand) Run(p *process) error {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	o, err := b.options()
	if err != nil {
		return err
	}
	return p.launch(func(w *mpi.World) error {
		if err := collective.Agree(w, o.Config.Resolve(w.Size())); err != nil {
			return err
		}
		if err := benchTask(o, w.Size(), w.NodeSize(), aRun).Check(w); err != nil {
			return err
		}
		m, err := bench.RunMerge(o, w)
		return printOnFirst(w, printer{p.stdout, b.JSON}.merge, m, err)
	})
}

// onFirst calls do on rank 0 and returns its error on all ranks.
func onFirst(w *mpi.World, do func() error) error {
	var err error
	if w.Rank() == 0 {
		err = do()
	}
	return collective.Agree(w, err)
}

// printOnFirst prints on rank 0 what a benchmark measured, unless that failed, and returns the error of printing on all ranks.
func printOnFirst[T any](w *mpi.World, print func(T) error, measured T, err error) error {
	if err != nil {
		return err
	}
	return onFirst(w, func() error { return print(measured) })
}

// messagesCommand is lte bench messages.
type messagesCommand struct {
	Blocks []int `help:"Bytes that a rank sends to each other one." default:"8,4096,65536,1048576"`
	Rounds int   `help:"Number of rounds." default:"9"`
	JSON   bool  `help:"One JSON object per line."`
}

// Run measures collectives and prints a line for each size of block.
func (c messagesCommand) Run(p *process) error {
	return p.launch(func(w *mpi.World) error {
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
		need := memory.Need{Own: 2 * all, Common: all * float64(1+2*w.NodeSize()), Node: w.NodeSize()}
		if err := footprint.CheckFlag(w, fmt.Sprintf("--blocks %d", slices.Max(c.Blocks)), need); err != nil {
			return err
		}
		for _, block := range c.Blocks {
			m, err := bench.RunMessages(w, block, c.Rounds)
			if err := printOnFirst(w, printer{p.stdout, c.JSON}.messages, m, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitCommand is lte bench wait.
type waitCommand struct {
	Work   time.Duration `help:"Time that a rank computes between collectives: from half to one and a half times this." default:"50ms"`
	Bytes  int           `help:"Size of the mean that ranks then compute." default:"1000000"`
	Rounds int           `help:"Number of rounds." default:"40"`
	JSON   bool          `help:"One JSON object per line."`
}

func (c waitCommand) Run(p *process) error {
	runtime.LockOSThread() // a rank's processor time is this thread's
	return p.launch(func(w *mpi.World) error {
		if err := collective.Agree(w, cmp.Or(inRange("work", c.Work, 1, time.Hour), inRange("bytes", c.Bytes, 4, maxMessage), inRange("rounds", c.Rounds, 1, maxTimes))); err != nil {
			return err
		}
		if err := footprint.CheckFlag(w, fmt.Sprintf("--bytes %d", c.Bytes), memory.Need{Own: 4 * float64(c.Bytes), Node: 1}); err != nil {
			return err
		}
		m, err := bench.RunWait(w, w.MachineCores(), c.Work, c.Bytes, c.Rounds)
		return printOnFirst(w, printer{p.stdout, c.JSON}.wait, m, err)
	})
}

// benchDataCommand is lte bench data.
type benchDataCommand struct {
	benchFlags
	Path   string `arg:"" optional:"" help:"What data.path may name; without it images of 256×341 are made and packed in a temporary folder."`
	Images int    `help:"Images to prepare without steps." default:"3000"`
}

// Run measures how fast images are read. They are cropped at random, resized, flipped and normalized, unless --set says otherwise.
func (b benchDataCommand) Run(p *process) (err error) {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	b.Set = append([]string{"data.size=" + strconv.Itoa(b.Image), "data.flip=true", "data.rotate=0", "data.shift=0", "data.scale=0",
		"data.shear=0", "data.normalize=imagenet"}, b.Set...)
	steps := b.Steps
	b.Steps = max(b.Steps, 1)
	o, err := b.alone()
	if err != nil {
		return err
	}
	o.Rounds = steps
	if err := cmp.Or(inRange("images", b.Images, 0, maxRounds), inRange("steps", steps, 0, maxRounds)); err != nil {
		return err
	}
	holds := aRun
	if steps == 0 {
		holds = aFeed
	}
	task := benchTask(o, 1, 1, holds)
	task.Set.Classes = 1 // at least
	if err := task.Check(collective.Alone{}); err != nil {
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
	set, err := data.Open(session.Source(o.Config, b.Threads), session.SplitSeed)
	if err != nil {
		return err
	}
	task.Set = set
	if err := task.Check(collective.Alone{}); err != nil {
		return err
	}
	d, err := bench.RunData(o, set, b.Images)
	if err != nil {
		return err
	}
	return printer{p.stdout, b.JSON}.data(d)
}
