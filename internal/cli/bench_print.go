package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"lte/bench"
	"lte/compute"
)

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
