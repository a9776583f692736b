package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lte/config"
	"lte/data"
	"lte/internal/session"
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
	Cores         int           `help:"Cores of a node; 0: of this machine where its speed is measured, else one per rank." placeholder:"N"`
	Latency       time.Duration `help:"Latency of a message between nodes, one way." default:"100us"`
	Bandwidth     byteRate      `help:"Bandwidth of a node's link, shared by its ranks: a rate per second such as 1Gbit, 50Mbit or 125MB." default:"1Gbit"`
	NodeLatency   time.Duration `help:"Latency of a message within a node; 0: measured where several ranks are launched on one node, else 20us." placeholder:"TIME"`
	NodeBandwidth byteRate      `help:"Bandwidth of all messages within a node together; 0: measured likewise, else 12GB." placeholder:"RATE"`
	Speed         float64       `name:"images-per-second" help:"Speed of one rank with the configured method, in images/s; 0: measured by a short run on every rank that is launched." placeholder:"N"`
	MPI           string        `name:"mpi" help:"MPI library whose collectives are predicted: mpich or openmpi; empty: that of this program." placeholder:"NAME"`
	JSON          bool          `help:"One JSON object per line."`
}

// Help is for lte plan --help.
func (planCommand) Help() string {
	return "It needs no launcher. Under mpirun it measures the speed of that many ranks side by side: launch as many as a node is to have. " +
		"docs/plan.md has the model, docs/measurements/plan.md its errors."
}

// byteRate is bytes a second.
type byteRate float64

// UnmarshalText reads a rate with its unit: bits or bytes, with SI prefixes.
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
		return fmt.Errorf("%q is not a rate: expected a number of bits or bytes a second, such as 50Mbit, 1Gbit or 125MB", text)
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

// options are what the flags and the configuration set together; speeds that no flag sets are missing.
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
	o.Cluster = plan.Cluster{Ranks: p.Ranks, PerNode: p.RanksPerNode, Oversubscribed: p.Cores > 0 && p.RanksPerNode > p.Cores,
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
	minSpeed   = 1e-6 // images/s
	maxRate    = 1e15 // bytes/s
	maxLatency = time.Hour
)

// set is the sizes of the images of the planned run.
func (p planCommand) set(c config.Config) (*data.Set, error) {
	image, classes := p.Image, p.Classes
	switch {
	case c.Model.Preset != "":
		image, classes = cmp.Or(image, 224), cmp.Or(classes, 1000)
	case c.Data.Path == "" && image == 0:
		set, err := data.Open(data.Source{Kind: "digits"}, session.SplitSeed)
		if err == nil {
			set.Classes = cmp.Or(classes, set.Classes)
		}
		return set, err
	}
	if image == 0 || classes == 0 {
		return nil, &config.Error{Problem: "a plan does not read images: set their side and the number of classes with --image and --classes"}
	}
	return &data.Set{Shape: data.Shape{Channels: 3, Height: image, Width: image}, Classes: classes}, nil
}

// Run predicts and prints.
func (p planCommand) Run(in *process) error {
	o, err := p.options()
	if err != nil {
		return err
	}
	flops, err := plan.FLOPs(o)
	if err != nil {
		return err
	}
	if p.Speed > 0 {
		p.setSpeed(&o, p.Speed*flops)
		return p.show(o, in.stdout)
	}
	return in.launch(func(w *mpi.World) error {
		runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
		if err := p.measure(&o, w); err != nil {
			return err
		}
		return onFirst(w, func() error { return p.show(o, in.stdout) })
	})
}

// show predicts the configured method and its baselines, and prints them.
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
	fmt.Fprintf(stdout, "an interval is %d steps with their exchange; wire %s, transport %s\n\n", first.Steps, o.Config.Exchange.Wire, o.Config.Exchange.Transport)
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "method\tinterval\tsteps\texchange\tmerge\tcommunicating\timages/s\tsent by a rank\tan image\tfewer than averaging\tmemory of a rank\tof a node\t")
	for _, one := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f %%\t%s\t%s\t%s\t%s\t%s\t%s\t\n", one.Method, seconds(one.Seconds), seconds(one.StepSeconds),
			seconds(one.ExchangeSeconds), seconds(one.MergeSeconds), 100*one.Communicating, rate(one.ImagesPerSecond), bytesText(one.Bytes),
			bytesText(one.BytesPerImage), times(one), bytesText(one.MemoryPerRank), bytesText(one.MemoryPerNode))
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

// rate formats a number per second.
func rate(perSecond float64) string {
	if perSecond < 100 {
		return fmt.Sprintf("%.3g", perSecond)
	}
	return humanize.CommafWithDigits(perSecond, 0)
}

// times is the ratio of the bytes that gradient averaging sends.
func times(p plan.Prediction) string {
	if p.Bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g ×", p.AveragingBytes/p.Bytes)
}

func bytesText(bytes float64) string { return humanize.SIWithDigits(bytes, 1, "B") }
