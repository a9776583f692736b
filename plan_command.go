package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lte/bench"
	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/method"
	"lte/mpi"
	"lte/plan"

	"github.com/dustin/go-humanize"
)

// planCommand is lte plan.
type planCommand struct {
	settings
	Model         string        `help:"Preset; empty: the model of the configuration." placeholder:"NAME"`
	Image         int           `help:"Side of an image, in pixels; 0: 224 with a preset, else the embedded digits." placeholder:"N"`
	Classes       int           `help:"Classes; 0: 1000 with a preset, else the embedded digits." placeholder:"N"`
	Ranks         int           `help:"Ranks of the run." default:"8"`
	RanksPerNode  int           `help:"Ranks of a node; the ranks of a node have consecutive numbers." default:"1"`
	Cores         int           `help:"Cores of a node; 0: of this machine where its speed is measured, else one a rank." placeholder:"N"`
	Latency       time.Duration `help:"Of a message between nodes, one way." default:"100us"`
	Bandwidth     byteRate      `help:"Of a node's link, shared by its ranks; such as 1Gbit, 50Mbit or 125MB, a second." default:"1Gbit"`
	NodeLatency   time.Duration `help:"Of a message within a node; 0: measured where several ranks are launched on one node, else 20us." placeholder:"TIME"`
	NodeBandwidth byteRate      `help:"Of all messages within a node together; 0: likewise, else 12GB." placeholder:"RATE"`
	Speed         float64       `name:"images-per-second" help:"Of one rank, with the configured method; 0: measured by a short run here, on every rank that is launched." placeholder:"N"`
	MPI           string        `name:"mpi" help:"Whose collectives: mpich or openmpi; empty: this program's." placeholder:"NAME"`
	JSON          bool          `help:"One JSON object a line."`
}

// Help is for lte plan --help.
func (planCommand) Help() string {
	return "Alone it needs no launcher. Under mpirun it measures as many ranks side by side as are launched: as many as a node is to have. " +
		"What is reckoned, and how well it was met, is in docs/communication.md."
}

// byteRate is bytes a second.
type byteRate float64

// UnmarshalText reads a rate with its unit: bits or bytes, with the prefixes of SI.
func (b *byteRate) UnmarshalText(text []byte) error {
	x, unit, err := humanize.ParseSI(string(text))
	switch unit {
	case "bit", "bit/s", "bps":
		x /= 8
	case "B", "B/s":
	default:
		if string(text) == "0" {
			return nil
		}
		err = fmt.Errorf("unit %q", unit)
	}
	if err != nil {
		return fmt.Errorf("%q is no rate: expected a number of bits or bytes a second, such as 50Mbit, 1Gbit or 125MB", text)
	}
	if !(x <= maxRate) {
		return fmt.Errorf("%q is more than %s: expected a rate such as 50Mbit, 1Gbit or 125MB", text, bits(maxRate))
	}
	if x < 125 {
		return fmt.Errorf("%q is less than 1 kbit a second: expected a rate such as 50Mbit (M is mega, m is milli)", text)
	}
	*b = byteRate(x)
	return nil
}

// Where nothing is measured.
const (
	nodeLatency   = 20e-6 // seconds
	nodeBandwidth = 12e9  // bytes a second
	memoryRate    = 20e9  // bytes a second
)

const rateTime = 2 * time.Second // for which steps are measured

const feedImages = 2000 // to prepare, a tenth of a second of the digits

// options are what the flags and the configuration say together, without what is to be measured.
func (p planCommand) options() (o plan.Options, err error) {
	if p.Model != "" {
		p.Set = append(p.Set, "model.preset="+strconv.Quote(p.Model))
	}
	if o.Config, err = p.load(); err != nil {
		return o, err
	}
	if err = p.check(); err != nil {
		return o, err
	}
	if o.Set, err = p.set(o.Config); err != nil {
		return o, err
	}
	o.Cluster = plan.Cluster{Ranks: p.Ranks, PerNode: p.RanksPerNode, Crowded: p.Cores > 0 && p.RanksPerNode > p.Cores,
		Between: plan.Link{Latency: p.Latency.Seconds(), Bandwidth: float64(p.Bandwidth)},
		Within:  plan.Link{Latency: p.NodeLatency.Seconds(), Bandwidth: float64(p.NodeBandwidth)}}
	switch name := p.MPI; {
	case name == plan.MPICH.Name || name == "" && !strings.HasPrefix(mpi.Library(), "Open MPI"):
		o.Cluster.Library = plan.MPICH
	case name == plan.OpenMPI.Name || name == "":
		o.Cluster.Library = plan.OpenMPI
	default:
		return o, &config.Error{Problem: fmt.Sprintf("--mpi must be %s or %s, not %q", plan.MPICH.Name, plan.OpenMPI.Name, name)}
	}
	return o, nil
}

// check finds flags that are out of range.
func (p planCommand) check() error {
	if p.Speed > 0 && p.Speed < minSpeed {
		return &config.Error{Problem: fmt.Sprintf("--images-per-second must be 0, to measure it, or at least %v, not %v", minSpeed, p.Speed)}
	}
	if p.Bandwidth == 0 {
		return &config.Error{Problem: "--bandwidth must be above 0: a rate such as 50Mbit, 1Gbit or 125MB"}
	}
	return cmp.Or(
		inRange("ranks", p.Ranks, 1, plan.MaxRanks), inRange("ranks-per-node", p.RanksPerNode, 1, plan.MaxRanks), inRange("cores", p.Cores, 0, plan.MaxRanks),
		inRange("image", p.Image, 0, maxImage), inRange("classes", p.Classes, 0, maxClasses),
		inRange("latency", p.Latency, 0, maxLatency), inRange("node-latency", p.NodeLatency, 0, maxLatency),
		inRange("images-per-second", p.Speed, 0, 1e9))
}

// Bounds of flags.
const (
	minSpeed   = 1e-6  // images a second
	maxRate    = 1e15  // bytes a second
	maxImage   = 16384 // pixels
	maxClasses = 1_000_000
	maxRounds  = 1_000_000_000
	maxLatency = time.Hour
)

// inRange is the usage error of a flag whose value is out of range, or no number.
func inRange[T int | float64 | time.Duration](flag string, x, least, most T) error {
	if x >= least && x <= most {
		return nil
	}
	return &config.Error{Problem: fmt.Sprintf("--%s must be at least %v and at most %v, not %v", flag, least, most, x)}
}

// set is the sizes of the images that are planned with.
func (p planCommand) set(c config.Config) (*data.Set, error) {
	image, classes := p.Image, p.Classes
	switch {
	case c.Model.Preset != "":
		image, classes = orElse(image, 224), orElse(classes, 1000)
	case c.Data.Path == "" && image == 0:
		set, err := data.Open(data.Source{Kind: "digits"}, splitSeed)
		if err == nil {
			set.Classes = orElse(classes, set.Classes)
		}
		return set, err
	}
	if image == 0 || classes == 0 {
		return nil, &config.Error{Problem: "a plan does not read images: give their side and number of classes by --image and --classes"}
	}
	return &data.Set{Channels: 3, Height: image, Width: image, Classes: classes}, nil
}

// orElse is x, or another number where x is 0.
func orElse[T int | float64](x, other T) T {
	if x == 0 {
		return other
	}
	return x
}

// runPlan predicts and prints.
func runPlan(command planCommand, stdout, stderr io.Writer) int {
	o, err := command.options()
	if err != nil {
		return complain(stderr, err)
	}
	operations, err := plan.Operations(o)
	if err == nil && command.Speed > 0 {
		command.given(&o, command.Speed*operations)
		err = command.show(o, stdout)
	}
	if err != nil || command.Speed > 0 {
		return complain(stderr, err)
	}
	return launch(os.Stderr, func(w *mpi.World) error {
		runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
		if err := command.measure(&o, w); err != nil {
			return err
		}
		var err error
		if w.Rank() == 0 {
			err = command.show(o, stdout)
		}
		return collective.Agree(w, err)
	})
}

// given fills in the speed that a flag says, in operations a second.
func (p planCommand) given(o *plan.Options, rate float64) {
	o.Speed = plan.Speed{Heads: rate, Weights: rate, Memory: memoryRate}
	if o.Cluster.Crowded {
		o.Speed.Memory *= float64(p.Cores) / float64(p.RanksPerNode)
	}
	assume(&o.Cluster.Within)
}

// assume fills in what was neither said nor measured.
func assume(node *plan.Link) {
	node.Latency, node.Bandwidth = orElse(node.Latency, nodeLatency), orElse(node.Bandwidth, nodeBandwidth)
}

// measure fills in speeds of this machine, the slowest rank's, and what of the node's network no flag says.
func (p planCommand) measure(o *plan.Options, w *mpi.World) error {
	c := o.Config
	c.LoRA.Heads = 0 // a head's speed, whatever their number
	threads, err := threadsPerRank(c.Compute.Threads, w)
	if c.Compute.Threads == 0 && w.Size() == 1 {
		threads = max(1, w.MachineCores()/p.RanksPerNode)
	}
	if err := collective.Agree(w, err); err != nil {
		return err
	}
	rate := func(name string, k int) (float64, error) {
		b := bench.Options{Config: plan.Beside(c, name), Image: o.Set.Height, Classes: o.Set.Classes, Threads: threads, Warmup: 2}
		if err := collective.Agree(w, b.Config.Resolve(1)); err != nil {
			return 0, err
		}
		t := ofBench(b, 1, 1, aRun)
		t.name, t.advice = "measuring the speed of "+name, "say the speed of a rank with --images-per-second"
		delete(t.names, "train.batch")
		delete(t.names, "lora.rank")
		if err := t.fits(w); err != nil {
			return 0, err
		}
		return bench.IntervalRate(b, w, k, rateTime)
	}
	heads := c.Method
	if !c.Spec().HasHeads() {
		heads = method.Default().Name
	}
	if o.Speed.Heads, err = rate(heads, c.Merge.Every); err != nil {
		return err
	}
	if o.Speed.Weights, err = rate(method.Baseline().Name, c.Merge.Every); err != nil {
		return err
	}
	if w.Size() > 1 {
		lockstep, err := rate(method.Baseline().Name, 1)
		if err != nil {
			return err
		}
		o.Speed.Lockstep = min(1, lockstep/o.Speed.Weights)
	}
	cores := orElse(p.Cores, w.MachineCores())
	o.Cluster.Crowded = p.RanksPerNode > cores
	if o.Speed.Memory, err = bench.MemoryRate(w); err != nil {
		return err
	}
	if o.Set.Train != nil { // a plan opens no set but the digits
		seconds, err := bench.FeedSeconds(c, o.Set, feedImages)
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		sum := []float64{seconds}
		if err := collective.Sum(w, sum); err != nil {
			return err
		}
		o.Speed.Feed = sum[0] / float64(w.Size()*threads)
	}
	// Ranks that a node has not cores for share them, as those do that were measured; what an image takes was processor time.
	share := func(ranks, cores int) float64 { return min(1, float64(cores)/float64(ranks*threads)) }
	part := share(p.RanksPerNode, cores)
	o.Speed.Feed /= part
	part /= share(w.MachineSize(), w.MachineCores())
	o.Speed.Heads, o.Speed.Weights, o.Speed.Memory = o.Speed.Heads*part, o.Speed.Weights*part, o.Speed.Memory*part
	if p.RanksPerNode*threads < cores { // the others prepare images
		o.Speed.Feed = 0
	}
	if w.Size() > 1 && w.NodeSize() == w.Size() {
		n, err := collective.Measure(w)
		if err != nil {
			return err
		}
		within := plan.Within(n, w.Size())
		o.Cluster.Within.Latency = orElse(o.Cluster.Within.Latency, within.Latency)
		o.Cluster.Within.Bandwidth = orElse(o.Cluster.Within.Bandwidth, within.Bandwidth)
	}
	assume(&o.Cluster.Within)
	return nil
}

// show predicts the configured method and those beside it, and prints them.
func (p planCommand) show(o plan.Options, stdout io.Writer) error {
	var all []plan.Prediction
	for _, method := range plan.Methods(o.Config) {
		one, err := plan.Predict(o, method)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	if p.JSON {
		for _, one := range all {
			if err := json.NewEncoder(stdout).Encode(one); err != nil {
				return err
			}
		}
		return nil
	}
	first, l := all[0], o.Cluster
	fmt.Fprintf(stdout, "%s, images of %d×%d, batch %d; %d ranks, %d on a node; collectives of %s\n", first.Model, o.Set.Height, o.Set.Width,
		o.Config.Train.Batch, first.Ranks, first.PerNode, l.Library.Name)
	fmt.Fprintf(stdout, "between nodes %s, %s; within a node %s, %s; a rank computes %s (heads), %s (all weights), and moves %s\n",
		bits(l.Between.Bandwidth), seconds(l.Between.Latency), bits(l.Within.Bandwidth), seconds(l.Within.Latency),
		humanize.SIWithDigits(o.Speed.Heads, 1, "FLOP/s"), humanize.SIWithDigits(o.Speed.Weights, 1, "FLOP/s"), humanize.SIWithDigits(o.Speed.Memory, 1, "B/s"))
	fmt.Fprintf(stdout, "an interval is %d steps and what is exchanged for them; wire %s, transport %s\n\n", first.Steps, o.Config.Exchange.Wire, o.Config.Exchange.Transport)
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "method\tinterval\tsteps\texchange\tmerge\tcommunicating\timages/s\tsent by a rank\tan image\tfewer than averaging\tmemory of a rank\tof a node\t")
	for _, one := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f %%\t%s\t%s\t%s\t%s\t%s\t%s\t\n", one.Method, seconds(one.Seconds), seconds(one.StepSeconds),
			seconds(one.ExchangeSeconds), seconds(one.MergeSeconds), 100*one.Communicating, rate(one.ImagesPerSecond), amount(one.Bytes),
			amount(one.BytesPerImage), times(one), amount(one.MemoryPerRank), amount(one.MemoryPerNode))
	}
	return w.Flush()
}

func bits(bytes float64) string { return humanize.SIWithDigits(8*bytes, 1, "bit/s") }

func seconds(s float64) string {
	if s < 1 {
		return humanize.SIWithDigits(s, 1, "s")
	}
	if years := s / (365.25 * 24 * 3600); years >= 1 {
		return humanize.CommafWithDigits(years, 1) + " years"
	}
	return time.Duration(1e9 * s).Round(100 * time.Millisecond).String()
}

// rate words a number a second.
func rate(perSecond float64) string {
	if perSecond < 100 {
		return fmt.Sprintf("%.3g", perSecond)
	}
	return humanize.CommafWithDigits(perSecond, 0)
}

// times is how many times more gradient averaging sends.
func times(p plan.Prediction) string {
	if p.Bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g ×", p.AveragingBytes/p.Bytes)
}
